"""Assemble what a run trains with: callbacks, loggers, plugins and the epoch loop."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO

from litnets.internals import TrainingEpochLoop
from litnets.runs.folder import Run
from litnets.tracking.figures import Figures
from litnets.tracking.histograms import Histograms
from litnets.tracking.loggers import default_loggers
from litnets.tracking.tensorboard import Graph
from litnets.tracking.wandb_logger import Gradients, WandbSetup, build_wandb_loggers, without_wandb
from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.fast_loop import TESTED_LIGHTNING, FastEpochLoop
from litnets.training.keep_epochs import KeepEpochs
from litnets.training.mask_writer import MaskWriter
from litnets.training.non_finite import StopOnNonFinite
from litnets.training.predictions import PredictionsCSV
from litnets.training.record_predictions import RecordPredictions
from litnets.training.results_writer import WriteResults
from litnets.training.resume.config_diff import changes_optimization, changes_steps_per_epoch
from litnets.training.resume.plan import ResumePlan
from litnets.training.resume.restore import RestoreTrainingState
from litnets.training.resume.save_on_interrupt import SaveOnInterrupt
from litnets.training.resume.seeded_data import SeededEpochLoop
from litnets.training.signals import Signals
from litnets.training.stop_after_epoch import StopAfterEpoch


def build_callbacks(
    run: Run,
    signals: Signals,
    resume: ResumePlan | None,
    *,
    checkpoint: Checkpoint | None,
    early_stopping: EarlyStopping,
    lr_monitor: LearningRateMonitor,
    stop_after_epoch: int | None,
    keep_epochs: int | None,
    user_callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    histograms: bool,
    figures: bool,
    gradients: bool,
    record_predictions: bool,
) -> list[Callback]:
    """Build the callbacks of a training run, in the order in which they are called.

    Args:
        run: The run.
        signals: The signal handlers of the process.
        resume: What a resumed run continues from.
        checkpoint: Saves best.ckpt and last.ckpt; None: save nothing.
        early_stopping: Ends the training when the monitored metric stops improving.
        lr_monitor: Logs the learning rate.
        stop_after_epoch: The epoch after which to stop, to resume later; None: train to the end.
        keep_epochs: The number of epochs whose weights to keep; None: keep none.
        user_callbacks: The callbacks of the configuration.
        loggers: The loggers of the run; without any, no callback that logs is added.
        histograms: Log how weights, gradients and activations are distributed.
        figures: Log figures of the test results.
        gradients: Log histograms of gradients to W&B.
        record_predictions: Write the predictions of the tested checkpoint.
    """
    plan = resume or ResumePlan()
    restore = RestoreTrainingState(
        changes_optimization(plan.changes), changes_steps_per_epoch(plan.changes), plan.stopped_early is not None
    )
    callbacks: list[Callback] = [restore, WriteResults(run), *user_callbacks, early_stopping, StopOnNonFinite(run)]
    if stop_after_epoch is not None:
        callbacks.append(StopAfterEpoch(stop_after_epoch))
    callbacks.append(SaveOnInterrupt(run, signals, checkpoint))
    if checkpoint is not None:
        callbacks.append(checkpoint)
        if keep_epochs is not None:
            callbacks.append(KeepEpochs(run, keep_epochs))
    if loggers:
        callbacks += [lr_monitor, Graph()]
    if loggers and histograms:
        callbacks.append(Histograms(run))
    if loggers and figures:
        callbacks.append(Figures())
    if gradients:
        callbacks.append(Gradients())
    if record_predictions:
        callbacks.append(RecordPredictions(run))
    return callbacks


def build_prediction_callbacks(
    run: Run | None, user_callbacks: Sequence[Callback], output: Path | None, masks: bool = False
) -> list[Callback]:
    """Build the callbacks of `predict`.

    Args:
        run: The run; None for a checkpoint outside a run folder whose predictions are written elsewhere.
        user_callbacks: The callbacks of the configuration.
        output: The file of the predictions; None writes nothing.
        masks: Whether the predictions are masks.
    """
    callbacks = [*user_callbacks] if run is None else [WriteResults(run), *user_callbacks]
    if output is not None:
        callbacks.append(MaskWriter(output) if masks else PredictionsCSV(output))
    return callbacks


def build_loggers(
    user_loggers: Sequence[Any], run: Run, resume: ResumePlan | None, wandb: WandbSetup | None
) -> list[Logger]:
    """Build the loggers of a training run.

    Args:
        user_loggers: The loggers of the configuration: `[False]` turns logging off, an empty list means TensorBoard.
        run: The run.
        resume: What a resumed run continues from; TensorBoard hides what was logged after that point.
        wandb: The settings of W&B; None: do not log to W&B.
    """
    if list(user_loggers) == [False]:
        return []
    state = None if resume is None else resume.state
    resume_step = None if state is None else state["logged_step"]
    loggers = default_loggers([one for one in user_loggers if isinstance(one, Logger)], run, resume_step)
    loggers_without_wandb = without_wandb(loggers)
    return loggers_without_wandb if wandb is None else [*loggers_without_wandb, *build_wandb_loggers(run, wandb)]


def build_plugins(user_plugins: Sequence[Any]) -> list[Any]:
    """Add atomic checkpoint writes to the plugins of the configuration, unless one of them is a CheckpointIO."""
    plugins = list(user_plugins)
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    return plugins


def install_epoch_loop(trainer: Trainer, fast: bool, seeds_data: bool) -> None:
    """Choose the loop over the batches of an epoch.

    Args:
        trainer: The Trainer to install it in.
        fast: Use `FastEpochLoop`, unless it was not tested with the installed Lightning; then print one line instead.
        seeds_data: Seed the generators before each batch is read, for a DataModule that cannot start within an epoch.
    """
    if fast and lightning.__version__ not in TESTED_LIGHTNING:
        if trainer.is_global_zero:
            tested = ", ".join(TESTED_LIGHTNING)
            print(f"fast_loop: not tested with lightning {lightning.__version__} (but with {tested}); not used")
        fast = False
    loop_class = _EPOCH_LOOPS[fast, seeds_data]
    if loop_class is not None:
        loop = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = loop_class(trainer, min_steps=loop.min_steps, max_steps=loop.max_steps)


class _SeededFastEpochLoop(SeededEpochLoop, FastEpochLoop):
    pass


# (fast, seeds_data): the loop, None for Lightning's.
_EPOCH_LOOPS: dict[tuple[bool, bool], type[TrainingEpochLoop] | None] = {
    (False, False): None,
    (False, True): SeededEpochLoop,
    (True, False): FastEpochLoop,
    (True, True): _SeededFastEpochLoop,
}


def figures_are_available(uses_wandb: bool) -> bool:
    """Whether figures can be drawn: by W&B, or by matplotlib for TensorBoard."""
    return uses_wandb or find_spec("matplotlib") is not None
