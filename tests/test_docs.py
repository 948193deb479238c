"""The documentation is tested: commands are parsed, Python blocks are run, and files that it names must exist.

The Python blocks of a page run in order. A block that begins with `# mine.py` is that file instead. A block after
`<!-- not run: REASON -->` is skipped.
"""

import importlib
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from litnets.__main__ import main
from litnets.cli.commands.predict import split_inputs
from litnets.deploy.certificate import Certificate
from litnets.deploy.export import Export
from tests.conftest import CONFIGS, ROOT, isolate

DOCS = ROOT / "docs"
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if not {"_build", "generated"} & set(path.parts)
)


def blocks(page: Path, language: str) -> list[str]:
    text = re.sub(r"<!-- not run: [^\n]+ -->\n+```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Yield the commands in shell blocks and in running text."""
    for block in blocks(page, "sh"):
        yield from (line for line in block.splitlines() if line.startswith("litnets "))
    yield from re.findall(r"`(litnets (?:fit|validate|test|predict|resume) --[^`]+)`", page.read_text())


# `sync` has no options, and needs a run that was logged offline: tests/cli/commands/test_sync.py. The recipes of
# CONTRIBUTING.md use the classes that they add, and are run as a whole: tests/test_contributing.py.
ALL_COMMANDS = sorted(
    {c for page in PAGES if page.name != "CONTRIBUTING.md" for c in commands(page) if not c.startswith("litnets sync ")}
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configurations, a photo, and a finished run of digits_cnn and of digits_mlp."""
    folder = tmp_path_factory.mktemp("project")
    Image.new("RGB", (40, 30)).save(folder / "photo.png")
    (folder / "configs").symlink_to(CONFIGS)
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        for name in ("digits_cnn", "digits_mlp"):
            assert main(["fit", "--config", f"configs/{name}.yaml", "--trainer.max_epochs", "1"]) == 0
    return folder


def with_run(text: str, project: Path) -> str:
    """Replace <run> with the name of a run, and RUN with a run folder."""
    for experiment in (project / "checkpoints").iterdir():
        run = sorted(experiment.iterdir())[0].name
        text = text.replace(f"checkpoints/{experiment.name}/<run>", f"checkpoints/{experiment.name}/{run}")
    any_run = next((project / "checkpoints/digits_cnn").iterdir())
    return re.sub(r"\bRUN\b", str(any_run.relative_to(project)), text)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the code of docs/extending.md importable: all its `mine.py` blocks as one file."""
    folder = tmp_path / "code"
    folder.mkdir()
    parts = [block for block in blocks(DOCS / "extending.md", "python") if block.startswith("# mine.py")]
    (folder / "mine.py").write_text("\n".join(parts))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # imported by another test
    monkeypatch.syspath_prepend(str(folder))


def parse(command: str) -> int:
    """Parse the arguments of a command without running it. Commands that only print are run."""
    args = shlex.split(command)[1:]
    predicts_inputs = args[0] == "predict" and split_inputs(args[2:])[0]
    if predicts_inputs:
        Path("new_images").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save("new_images/photo.png")
    elif args[0] == "explain":
        pytest.importorskip("captum", reason="needs the extra explain")
        args += ["--samples", "1", *([] if "--method" in args else ["--method", "saliency"])]
    elif args[0] in ("fit", "validate", "test", "predict", "resume", "cv", "seeds", "search", "lr") and not re.search(
        r"--(\w+\.)?help", command
    ):
        args.append("--print_config")
    try:
        return main(args)
    except SystemExit as end:  # raised after printing
        return int(end.code or 0)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_command_parses(
    command: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    nothing = Export(Path(), Path(), Certificate("no samples"))
    monkeypatch.setattr("litnets.deploy.export.export_network", lambda *_: nothing)
    code = parse(with_run(command, project).replace("FILE", "checkpoints/x.ckpt"))
    output = capsys.readouterr()
    assert code == 0, f"{command}: {output.err}"
    assert output.err == "", f"{command}: {output.err}"


@pytest.mark.slow
@pytest.mark.usefixtures("mine")
def test_commands_of_extending_run() -> None:
    """The code in docs/extending.md can be trained."""
    page = DOCS / "extending.md"
    Path("configs").symlink_to(CONFIGS)
    training_commands = [command for command in commands(page) if "mine." in command and "help" not in command]
    assert len(training_commands) >= 4
    for command in training_commands:
        assert main([*shlex.split(command)[1:], "--trainer.max_epochs", "1"]) == 0, command


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    names: dict[str, object] = {}
    if any("export/model.onnx" in block for block in blocks(page, "python")):
        pytest.importorskip("onnxscript", reason="needs the extra export")
        assert main(with_run("export checkpoints/digits_cnn/<run>", project).split()) == 0
    for block in blocks(page, "python"):
        if not block.startswith("# mine.py"):
            exec(with_run(block, project), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_and_links_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`((?:src|configs|tests|docs|examples|benchmarks)/[\w/.]+\.\w+)`", text):
        assert (ROOT / name).exists() or name == "benchmarks/results.json", name
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / link).exists() or "generated" in link, f"{page}: {link}"


def test_example_plots_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run = min(Path("checkpoints/digits_mlp").iterdir())  # other tests train there, too
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    example = runpy.run_path(str(ROOT / "examples/plot_digits.py"))
    counts = example["confusion_matrix"](run)
    assert counts.sum() == 359
    test_accuracy = json.loads((run / "results.json").read_text())["test"]["accuracy"]
    assert (counts.trace() / counts.sum()).item() == pytest.approx(test_accuracy)
    example["plot"](run).savefig("figure.png")
    assert Path("figure.png").stat().st_size > 0


@pytest.mark.slow
def test_example_of_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples/python_api.py"))
    assert "best learning rate: 0.01" in capsys.readouterr().out


def test_reading_order_lists_ten_short_files() -> None:
    files = re.findall(r"^\d+\. `([^`]+)`", (DOCS / "reading-order.md").read_text(), re.MULTILINE)
    assert len(files) == 10
    assert sum(len((ROOT / name).read_text().splitlines()) for name in files) < 2550


def test_glossary_is_sorted() -> None:
    (glossary,) = blocks(DOCS / "glossary.md", r"\{glossary\}")
    terms = re.findall(r"^(\S.*)\n  ", glossary, re.MULTILINE)
    assert len(terms) >= 30
    assert terms == sorted(terms, key=str.lower)


@pytest.mark.parametrize("package", ["nets", "tasks", "data", "callbacks"])
def test_api_pages_list_all_public_names(package: str) -> None:
    text = (DOCS / "api" / f"{package}.md").read_text()
    listed = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(importlib.import_module(f"litnets.{package}").__all__)


# docs/glossary.md has the terms to use instead.
AVOIDED_TERMS = ("going on", "go on with", "gone on", "picture of", "share of", "anew", "watched metric", "mend")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_avoided_terms_are_not_used(page: Path) -> None:
    used = [word for word in AVOIDED_TERMS if re.search(rf"\b{word}\b", page.read_text())]
    assert not used
