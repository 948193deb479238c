"""The arguments of the Trainer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from litnets.cli.resolve_run import ResolvedRun
from litnets.cli.trainer_arguments import RunParts, trainer_arguments
from litnets.runs.folder import Run
from litnets.tasks import Classifier
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.resume.plan import ResumePlan
from litnets.training.signals import Signals


@pytest.mark.parametrize(
    ("rank", "state", "is_kept"), [(0, None, False), (1, None, True), (0, {"logged_step": 3}, True)]
)
def test_the_first_process_removes_the_metrics_of_a_run_that_starts_over(
    rank: int, state: Any, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process may come when the first one has written metrics again."""
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    run = Run(Path.cwd())
    run.metrics.write_text("epoch,step\n")
    options = Namespace(
        trainer=Namespace(fast_dev_run=False, logger=None), figures=False, histograms=False, record_predictions=False,
        stop_after_epoch=None, keep_epochs=None,
        wandb=Namespace(gradients=False),
    )  # fmt: skip
    built: Any = SimpleNamespace(checkpoint=Checkpoint("val/loss"), early_stopping=object(), lr_monitor=object())
    parts = RunParts("fit", options, built, Signals(), ResolvedRun("", run, resume=ResumePlan(state)))
    config = {"callbacks": None, "logger": None, "plugins": None, "enable_checkpointing": None}
    config |= {"enable_progress_bar": False, "default_root_dir": None}
    trainer_arguments(config, parts, Classifier(nn.Linear(1, 2), 2), None)
    assert run.metrics.exists() is is_kept
