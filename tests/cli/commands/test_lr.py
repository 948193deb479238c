import json
import math
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.cli.commands.lr import sweep
from litnets.errors import InputError
from litnets.tuning.learning_rate import RaiseLearningRate

OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--recipe", "false"]


@pytest.mark.slow
def test_a_suggestion_with_its_curve_and_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", *OPTIONS, "--steps", "60", "--seeds", "2", "--model.lr_scheduler", "ReduceLROnPlateau"]) == 0
    (folder,) = Path("checkpoints").glob("*/*")
    assert {path.name for path in folder.iterdir()} == {"lr.csv", "lr.json", "lr.svg"}
    content = json.loads((folder / "lr.json").read_text())
    assert 1e-4 < content["suggestion"] <= 0.1
    assert list(content["seeds"]) == ["42", "43"]
    assert len((folder / "lr.csv").read_text().splitlines()) <= 1 + 2 * 60
    assert f"suggestion: --model.lr {content['suggestion']:g} (" in capsys.readouterr().out


@pytest.mark.slow
def test_batch_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", *OPTIONS, "--batch_size", "--model.lr_scheduler", "OneCycleLR"]) == 0
    out = capsys.readouterr().out
    assert "largest that fits: 64 (all 90 training samples)" in out
    assert "fastest: " in out
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--low", "1", "--high", "0.1"], "expected 0 < --low < --high < inf, got 1 and 0.1"),
        (["--high", "inf"], "expected 0 < --low < --high < inf, got 1e-06 and inf"),
        (["--steps", "1"], "--steps: expected at least 10, got 1"),
        (["--seeds", "x"], "invalid int value: 'x'"),
        (["--model.lrr", "1"], "no option"),
    ],
)
def test_a_mistake_is_reported(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", *OPTIONS, *args]) == 2
    assert message in capsys.readouterr().err
    assert not Path("checkpoints").exists()


def test_a_first_loss_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(options: list[str], test: RaiseLearningRate, max_steps: int) -> None:
        test.losses.append(math.nan)

    monkeypatch.setattr("litnets.cli.commands.lr._fit", fit)
    with pytest.raises(InputError, match="the loss of the first step is nan"):
        sweep([], 42, 1e-6, 1.0, 10)
