# `make` lists the targets. Each target installs what it needs into .venv on first use.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help train test test-slow check docs bench interruptions scores constraints upgrade rename

help: ## List the targets.
	@echo "usage: make TARGET"
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | \
		while IFS='|' read -r target text; do printf '  %-15s %s\n' "$$target" "$$text"; done

train: $(VENV)/installed ## Train and test an MLP on 1,797 handwritten digits.
	@$(BIN)/litnets fit --config configs/digits_mlp.yaml

test: $(VENV)/installed-dev ## Run the tests, except the slow ones.
	@$(BIN)/python -m pytest

test-slow: $(VENV)/installed-dev ## Run the slow tests; set LITNETS_TEST_DATA to the folder of the real data sets.
	@$(BIN)/python -m pytest -m slow -n 2 --durations 10

check: $(VENV)/installed-dev ## Lint, check formatting and types, validate the GitHub workflows.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

docs: $(VENV)/installed-docs ## Build the documentation site in docs/_build/html; a warning is an error.
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/installed-dev ## Measure speed and memory as ratios (15 minutes); BENCH="--only step" selects one.
	@$(BIN)/python -m benchmarks $(BENCH)

interruptions: $(VENV)/installed-dev ## Interrupt and resume training at many batches and compare the results bit by bit.
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.stress.interruptions

scores: $(VENV)/installed-dev ## Train again what the README's scores come from (hours), and write them; SCORES="--check" only compares.
	@$(BIN)/python tools/scores.py $(SCORES)

constraints: $(VENV)/installed-dev ## Pin the newest dependencies in constraints.txt; commit it when the tests pass.
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make constraints" pyproject.toml --output-file constraints.txt

upgrade: $(VENV)/installed-dev ## Install the newest version of every dependency, without constraints.txt.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --upgrade --editable ".[dev]"

rename: $(VENV)/installed-dev ## Rename the package, its command and every mention of them: make rename NAME=petvision
	@$(BIN)/python tools/rename.py $(NAME)
	@$(BIN)/python -m pip uninstall --quiet --yes litnets

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV): on Linux about 2.7 GB, mostly PyTorch with CUDA (README.md says how to avoid it)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(PIP) --editable ".[docs]"
	@touch $@
