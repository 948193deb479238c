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


def names(**changed: Any) -> list[str]:
    """The classes of the callbacks of a training run, in their order."""
    run = Run(Path("run"))
    options: dict[str, Any] = {
        "checkpoint": Checkpoint("val/loss"),
        "early_stopping": EarlyStopping("val/loss"),
        "lr_monitor": LearningRateMonitor(),
        "user_callbacks": [Timer()],
        "loggers": [MetricsCSV(run.metrics)],
        "histograms": False,
        "figures": False,
        "gradients": False,
    }
    return [type(one).__name__ for one in build_callbacks(run, Signals(), None, **options | changed)]


def test_callbacks_in_their_order() -> None:
    # The state is restored before any other callback looks at it, and a checkpoint is the last to see a batch.
    always = ["RestoreTrainingState", "WriteResults", "Timer", "EarlyStopping", "StopOnNonFinite", "SaveOnInterrupt"]
    assert names() == [*always, "Checkpoint", "LearningRateMonitor", "Graph"]
    assert names(checkpoint=None, loggers=[]) == always
    everything = names(histograms=True, figures=True, gradients=True)
    assert everything[-3:] == ["Histograms", "Figures", "Gradients"]
    assert names(loggers=[], histograms=True, figures=True) == [*always, "Checkpoint"]


def test_a_changed_configuration_reaches_what_restores_the_state() -> None:
    plan = ResumePlan({}, {"data.init_args.batch_size": (32, 64)}, "in epoch 3")
    options: dict[str, Any] = {"histograms": False, "figures": False, "gradients": False, "loggers": []}
    restore, *_ = build_callbacks(
        Run(Path("run")),
        Signals(),
        plan,
        checkpoint=None,
        early_stopping=EarlyStopping("val/loss"),
        lr_monitor=LearningRateMonitor(),
        user_callbacks=[],
        **options,
    )
    assert isinstance(restore, RestoreTrainingState)
    assert restore.optimization_changed
    assert restore.steps_per_epoch_changed
    assert restore.stays_stopped


def test_predictions_are_written_unless_it_is_a_dry_run() -> None:
    run = Run(Path("run"))
    for write, expected in ((True, ["WriteResults", "Timer", "PredictionsCSV"]), (False, ["WriteResults", "Timer"])):
        assert [type(one).__name__ for one in build_prediction_callbacks(run, [Timer()], write)] == expected


def test_loggers_are_those_of_the_run_and_those_of_the_configuration(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert build_loggers([False], run, None, None) == []
    table, tensorboard = build_loggers([], run, ResumePlan({"logged_step": 7}), None)
    assert isinstance(table, MetricsCSV)
    assert isinstance(tensorboard, TensorBoardLogger)
    assert tensorboard._kwargs["purge_step"] == 7
    mine = CSVLogger(tmp_path)
    assert build_loggers([mine], run, None, None)[1:] == [mine]


def test_checkpoints_are_written_atomically_unless_a_plugin_writes_them() -> None:
    assert [type(one) for one in build_plugins([])] == [AtomicCheckpointIO]
    mine = TorchCheckpointIO()
    assert build_plugins([mine]) == [mine]


def test_figures_need_matplotlib_or_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures_are_available(uses_wandb=True)
    assert not figures_are_available(uses_wandb=False)  # as conftest.py has it
    monkeypatch.setattr(assemble, "find_spec", lambda name: name == "matplotlib")
    assert figures_are_available(uses_wandb=False)
