"""Runs from before a rename of the package can be tested and resumed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from litnets import former_names
from litnets.__main__ import main
from litnets.former_names import update_class_paths
from litnets.runs.folder import Run
from litnets.tracking.wandb_logger import default_project
from litnets.training.resume.loop_state import KEY
from tests.training.resume.test_save_on_interrupt import TWO_EPOCHS, fit, the_run

FORMER = "template"
PACKAGE = former_names.__name__.partition(".")[0]


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that `make rename` has renamed the package from `template`."""
    monkeypatch.setattr(former_names, "FORMER_NAMES", (FORMER,))


def edit_checkpoint(path: Path, edit: Callable[[dict[str, object]], None]) -> None:
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


def rewrite_with_former_name() -> None:
    """Rewrite the only run in `checkpoints` as if it had been made under the former name."""
    run = the_run()
    run.config.write_text(run.config.read_text().replace(f"class_path: {PACKAGE}.", f"class_path: {FORMER}."))
    assert f"class_path: {FORMER}." in run.config.read_text()

    def edit(content: dict[str, object]) -> None:
        state = content.pop(KEY)
        assert isinstance(state, dict)
        state["config"] = state["config"].replace(f"class_path: {PACKAGE}.", f"class_path: {FORMER}.")
        content[FORMER] = state

    for checkpoint in run.checkpoints():
        edit_checkpoint(checkpoint, edit)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("class_path: template.MLPClassifier", f"class_path: {PACKAGE}.MLPClassifier"),
        ("- class_path: template.data.RandomShift", f"- class_path: {PACKAGE}.data.RandomShift"),
        ("class_path: 'template.MLPClassifier'", f"class_path: '{PACKAGE}.MLPClassifier'"),
        ('{"class_path": "template.Digits"}', f'{{"class_path": "{PACKAGE}.Digits"}}'),
        ("class_path: template_of_mine.Net", "class_path: template_of_mine.Net"),
        ("experiment: template.1", "experiment: template.1"),
    ],
)
def test_only_class_paths_of_the_former_package_change(renamed: None, config: str, expected: str) -> None:
    assert update_class_paths(config) == expected


def test_a_run_from_before_the_rename_is_tested(renamed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    rewrite_with_former_name()
    assert main(["test", "--config", str(the_run().config)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_run_from_before_the_rename_is_resumed(renamed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *TWO_EPOCHS, "--trainer.max_epochs", "1"]) == 0
    rewrite_with_former_name()
    capsys.readouterr()
    assert main(["resume", str(the_run().folder), "--trainer.max_epochs", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "trainer.max_epochs: 1 -> 2" in captured.out
    assert "class_path" not in captured.out, "renaming the package is not a change of the configuration"
    last = torch.load(the_run().last, weights_only=True)
    assert last["global_step"] == 10
    assert KEY in last


def test_runs_of_an_unknown_former_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    rewrite_with_former_name()
    assert main(["test", "--config", str(the_run().config)]) == 2
    assert f"{FORMER}.MLPClassifier" in capsys.readouterr().err


def test_a_checkpoint_with_the_former_key_is_resumed() -> None:
    """Up to version 0.1 the key was the name of the package."""
    assert main(["fit", *TWO_EPOCHS, "--trainer.max_epochs", "1"]) == 0

    def edit(content: dict[str, object]) -> None:
        content[PACKAGE] = content.pop(KEY)

    edit_checkpoint(the_run().last, edit)
    assert main(["resume", str(the_run().folder), "--trainer.max_epochs", "2"]) == 0
    assert torch.load(the_run().last, weights_only=True)["global_step"] == 10


@pytest.mark.parametrize(
    ("saved", "expected"),
    [(None, PACKAGE), ({"id": "a1"}, FORMER), ({"id": "a1", "project": "digits"}, "digits")],
    ids=["new run", "saved without a project", "saved with a project"],
)
def test_a_run_keeps_its_wandb_project(renamed: None, saved: dict[str, str] | None, expected: str) -> None:
    run = Run(Path("run"))
    if saved is not None:
        (run.folder / "wandb").mkdir(parents=True)
        run.write_json(run.folder / "wandb" / "run.json", saved)
    assert default_project(run) == expected
