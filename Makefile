# make train | test | check | docs | bench | interruptions | constraints: each sets up what it needs, in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: train test check bench interruptions constraints docs

train: $(VENV)/installed
	@$(BIN)/litnets fit --config configs/digits_mlp.yaml

test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The site, into docs/_build/html; a warning is an error.
docs: $(VENV)/installed-docs
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# Ratios of speed and memory, in about ten minutes; BENCH="--only step --data-dir DATA" says which and where MNIST is.
bench: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks $(BENCH)

# 240 trainings that are stopped and gone on with, held against those that were not: docs/resume.md
interruptions: $(VENV)/installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.stress.interruptions

# Pins for every platform and Python that pyproject.toml admits; commit them when the tests have passed with them.
constraints: $(VENV)/installed-dev
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make constraints" pyproject.toml --output-file constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "setting up $(VENV): on Linux about 2.7 GB of packages, mostly PyTorch with CUDA (README.md says how to do without)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(PIP) --editable ".[docs]"
	@touch $@
