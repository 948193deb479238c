"""The callbacks, loggers and plugins of a run."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from litnets.runs.folder import Run
from litnets.tracking.loggers import MetricsCSV
from litnets.training import assemble
from litnets.training.assemble import (
    build_callbacks,
    build_loggers,
    build_plugins,
    build_prediction_callbacks,
    figures_are_available,
)
from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.resume.plan import ResumePlan
from litnets.training.resume.restore import RestoreTrainingState
from litnets.training.signals import Signals


def callback_names(**overrides: Any) -> list[str]:
    """The class names of the callbacks of a training run, in order."""
    run = Run(Path("run"))
    options: dict[str, Any] = {
        "checkpoint": Checkpoint("val/loss"),
        "early_stopping": EarlyStopping("val/loss"),
        "lr_monitor": LearningRateMonitor(),
        "stop_after_epoch": None,
        "keep_epochs": None,
        "user_callbacks": [Timer()],
        "loggers": [MetricsCSV(run.metrics)],
        "histograms": False,
        "figures": False,
        "gradients": False,
        "record_predictions": False,
    }
    return [type(callback).__name__ for callback in build_callbacks(run, Signals(), None, **options | overrides)]


def test_order_of_callbacks() -> None:
    # The state is restored before any other callback reads it, and the checkpoint is saved after all others.
    always = ["RestoreTrainingState", "WriteResults", "Timer", "EarlyStopping", "StopOnNonFinite", "SaveOnInterrupt"]
    assert callback_names() == [*always, "Checkpoint", "LearningRateMonitor", "Graph"]
    assert callback_names(checkpoint=None, loggers=[]) == always
    everything = callback_names(histograms=True, figures=True, gradients=True)
    assert everything[-3:] == ["Histograms", "Figures", "Gradients"]
    assert callback_names(loggers=[], histograms=True, figures=True) == [*always, "Checkpoint"]
    assert callback_names(loggers=[], record_predictions=True) == [*always, "Checkpoint", "RecordPredictions"]


def test_config_changes_reach_restore_training_state() -> None:
    plan = ResumePlan({}, {"data.init_args.batch_size": (32, 64)}, "in epoch 3")
    off = dict.fromkeys(("histograms", "figures", "gradients", "record_predictions"), False)
    restore, *_ = build_callbacks(
        Run(Path("run")),
        Signals(),
        plan,
        checkpoint=None,
        early_stopping=EarlyStopping("val/loss"),
        lr_monitor=LearningRateMonitor(),
        stop_after_epoch=None,
        keep_epochs=None,
        user_callbacks=[],
        loggers=[],
        **off,
    )
    assert isinstance(restore, RestoreTrainingState)
    assert restore.optimization_changed
    assert restore.steps_per_epoch_changed
    assert restore.stays_stopped


def test_predictions_are_written_unless_disabled() -> None:
    run = Run(Path("run"))
    for folder, output, expected in (
        (run, run.predictions, ["WriteResults", "Timer", "PredictionsCSV"]),
        (run, None, ["WriteResults", "Timer"]),
        (None, Path("a.csv"), ["Timer", "PredictionsCSV"]),
    ):
        assert [type(c).__name__ for c in build_prediction_callbacks(folder, [Timer()], output)] == expected
    *_, writer = build_prediction_callbacks(None, [], Path("new.csv"), masks=True)
    assert type(writer).__name__ == "MaskWriter"


def test_loggers_of_the_run_and_of_the_configuration(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert build_loggers([False], run, None, None) == []
    table, tensorboard = build_loggers([], run, ResumePlan({"logged_step": 7}), None)
    assert isinstance(table, MetricsCSV)
    assert isinstance(tensorboard, TensorBoardLogger)
    assert tensorboard._kwargs["purge_step"] == 7
    user_logger = CSVLogger(tmp_path)
    assert build_loggers([user_logger], run, None, None)[1:] == [user_logger]


def test_atomic_checkpoint_io_is_the_default_plugin() -> None:
    assert [type(plugin) for plugin in build_plugins([])] == [AtomicCheckpointIO]
    user_plugin = TorchCheckpointIO()
    assert build_plugins([user_plugin]) == [user_plugin]


def test_figures_need_matplotlib_or_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures_are_available(uses_wandb=True)
    assert not figures_are_available(uses_wandb=False)  # conftest.py hides matplotlib
    monkeypatch.setattr(assemble, "find_spec", lambda name: name == "matplotlib")
    assert figures_are_available(uses_wandb=False)
