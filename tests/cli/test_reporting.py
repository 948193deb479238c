"""What a command prints before and after it runs, and what it stores."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningModule
from torch import nn

from litnets.cli.reporting import print_start, report_fit, store_test_metrics, write_report
from litnets.cli.resolve_run import ResolvedRun
from litnets.data import Diabetes, Digits, ETTh1
from litnets.runs.folder import Run
from litnets.tasks import Classifier, Forecaster, Regressor
from litnets.tracking.wandb_logger import WandbOptions
from tests.helpers.tiny_runs import write_run


def report(model: Any, datamodule: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """Return results.json after a training."""
    run = Run(Path.cwd() / "run")
    run.folder.mkdir()
    run.update_results(epochs=1, steps=300, seconds=1.0)
    trainer: Any = SimpleNamespace(lightning_module=model, loggers=[])
    store_test_metrics(run, trainer, datamodule, metrics)
    report_fit(run, trainer, datamodule, WandbOptions(), None, metrics, {}, False)
    results: dict[str, Any] = json.loads(run.results.read_text())
    return results


def test_a_report_replaces_that_of_an_earlier_training() -> None:
    run = write_run("1")
    for path in (run.report, run.model_card):
        path.write_text("earlier")
    write_report(run, None)  # conftest lets no report be quick
    assert not run.report.exists()
    assert not run.model_card.exists()
    write_report(run, True)
    assert "Test accuracy 0.9000" in run.report.read_text()


def test_a_report_that_fails_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("1")
    run.data.write_text("[")
    write_report(run, True)
    assert capsys.readouterr().out.startswith(f"note: no report: {run.data} is damaged")


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (Classifier(nn.Linear(1, 2), 2), "test_per_class"),
        (Regressor(nn.Linear(1, 2), 2), "test_per_target"),
        (Forecaster(nn.Linear(1, 2), 1, channel_names=["a", "b"]), "test_per_channel"),
        (LightningModule(), "test_per_class"),  # another project's module
    ],
)
def test_single_classes_targets_and_channels_are_stored_as_such(model: Any, key: str) -> None:
    results = report(model, None, {"test/loss": 0.5, "test/mae/a": 1.0})
    assert results["test"] == {"loss": 0.5}
    assert results[key] == {"a": {"mae": 1.0}}
    assert sum(name.startswith("test_per") for name in results) == 1
    assert "fold" not in results


@pytest.mark.parametrize("data", [Digits(num_folds=5, fold=1), ETTh1(num_folds=5, fold=1)])
def test_a_fold_is_announced_and_stored(data: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = Classifier(nn.Linear(1, 2), 2)
    print_start(model, data, ResolvedRun(""), is_dry_run=False)
    line = "fold 1 of 5: one of the 5 runs of a cross-validation (--data.fold 0 to 4)"
    assert line in capsys.readouterr().out.splitlines()
    results = report(model, data, {"test/loss": 0.5})
    assert (results["fold"], results["num_folds"]) == (1, 5)
    assert "test, fold 1 of 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (Digits(), "1,079 training, 359 validation, 359 test samples; 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (Diabetes(), "266 training, 88 validation, 88 test samples"),
    ],
)
def test_the_size_of_each_split_and_the_classes_are_shown(
    data: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data.ensure_setup()
    print_start(nn.Identity(), data, ResolvedRun(""), is_dry_run=False)
    assert line in capsys.readouterr().out.splitlines()


def test_a_single_split_is_not_called_a_fold(capsys: pytest.CaptureFixture[str]) -> None:
    print_start(Classifier(nn.Linear(1, 2), 2), Digits(), ResolvedRun(""), is_dry_run=False)
    assert "fold" not in capsys.readouterr().out
