"""The arguments of the Trainer: those of the configuration, with the callbacks, loggers and plugins of the command."""

from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from litnets.cli.resolve_run import ResolvedRun, as_list
from litnets.runs.environment import environment
from litnets.runs.folder import Run
from litnets.runs.storage import read_text
from litnets.safety.plain import load_yaml
from litnets.tasks import Segmenter
from litnets.tracking.wandb_logger import WandbSetup, directions, without_wandb
from litnets.training.assemble import (
    build_callbacks,
    build_loggers,
    build_plugins,
    build_prediction_callbacks,
    figures_are_available,
)
from litnets.training.progress import choose_progress_bar
from litnets.training.record_predictions import RecordPredictions
from litnets.training.resume.config_diff import diff_configs
from litnets.training.signals import Signals


@dataclass(frozen=True)
class RunParts:
    """What the callbacks and loggers of a command are built from.

    Args:
        command: fit, validate, test or predict.
        options: The parsed options of the command.
        built: The options with the classes in them instantiated.
        signals: The signal handlers of the process.
        resolved: The run, the checkpoint and the complete configuration of the command.
    """

    command: str
    options: Namespace
    built: Namespace
    signals: Signals
    resolved: ResolvedRun

    @property
    def run(self) -> Run | None:
        """The run that the command works on; None without a run folder."""
        return self.resolved.run

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is written (`--trainer.fast_dev_run`)."""
        return bool(self.options.trainer.fast_dev_run)


def trainer_arguments(
    config: dict[str, Any], parts: RunParts, model: LightningModule, datamodule: LightningDataModule | None
) -> dict[str, Any]:
    """Return the arguments of the Trainer.

    Args:
        config: Those of the configuration, with callbacks and loggers instantiated.
        parts: What the callbacks and loggers of the command are built from.
        model: The model.
        datamodule: The data.
    """
    arguments = dict(config)
    callbacks = as_list(config["callbacks"])
    loggers: list[Any] = as_list(config["logger"])
    if parts.command == "fit" and parts.run is not None:
        loggers = _training_loggers(loggers, parts, parts.run, model)
        callbacks = _training_callbacks(callbacks, parts, parts.run, loggers, config["enable_checkpointing"])
        arguments["default_root_dir"] = config["default_root_dir"] or str(parts.run.folder)
        if parts.is_dry_run:
            arguments["enable_checkpointing"] = False  # Lightning would write last.ckpt all the same
    else:
        loggers = without_wandb(loggers)  # the W&B run is that of the training; later results are printed
        if parts.command == "predict":
            output = None if parts.is_dry_run else parts.resolved.predictions
            callbacks = build_prediction_callbacks(parts.run, callbacks, output, isinstance(model, Segmenter))
        elif parts.run is not None and _repeats_test(parts, datamodule):
            callbacks.append(RecordPredictions(parts.run, locks=True))
    if config["enable_progress_bar"] is not False and not any(isinstance(one, ProgressBar) for one in callbacks):
        callbacks.append(choose_progress_bar())
    arguments["callbacks"] = callbacks
    arguments["logger"] = [one for one in loggers if isinstance(one, Logger)] or False
    arguments["plugins"] = build_plugins(as_list(config["plugins"]))
    if getattr(datamodule, "shards_itself", False):
        arguments["use_distributed_sampler"] = False
    return arguments


def _repeats_test(parts: RunParts, datamodule: LightningDataModule | None) -> bool:
    """Whether a command repeats the test of the training, so that its predictions may replace the recorded ones."""
    options, resolved = parts.options, parts.resolved
    if parts.command != "test" or parts.run is None or not options.record_predictions or parts.is_dry_run:
        return False
    is_other = resolved.labeled_path is not None or options.split_again or getattr(datamodule, "data_changes", None)
    if is_other or resolved.checkpoint is None or resolved.checkpoint.resolve() != parts.run.best.resolve():
        return False
    path = parts.run.configs[-1]
    configs = (load_yaml(str(path), read_text(path)), load_yaml("the configuration", resolved.config_yaml))
    changed = diff_configs(*configs)
    return not any(
        key.startswith(("model.", "data.", "trainer.limit_", "trainer.precision"))
        and key.rpartition(".")[2] not in ("eval_batch_size", "num_workers")
        for key in changed
    )


def _training_loggers(user_loggers: list[Any], parts: RunParts, run: Run, model: LightningModule) -> list[Logger]:
    restarts = parts.resolved.resume is not None and parts.resolved.resume.state is None  # nothing was saved
    if restarts:
        rank_zero_only(run.metrics.unlink)(missing_ok=True)  # another process might delete what the first one writes
    wandb = None
    if parts.resolved.wandb_mode is not None:
        checkpoint = parts.built.checkpoint
        shown_environment = {"environment": environment(parts.options.seed_everything)}
        wandb = WandbSetup(
            parts.resolved.wandb_mode,
            parts.options.wandb,
            logger_specs=as_list(parts.options.trainer.logger),
            shown_config=load_yaml("the configuration", parts.resolved.config_yaml) | shown_environment,
            directions=directions(model, checkpoint.monitor, checkpoint.mode),
        )
    return build_loggers(user_loggers, run, parts.resolved.resume, wandb)


def _training_callbacks(
    user_callbacks: list[Callback], parts: RunParts, run: Run, loggers: list[Logger], enable_checkpointing: bool | None
) -> list[Callback]:
    options, built = parts.options, parts.built
    checkpoint = built.checkpoint
    checkpoint.run, checkpoint.config = run, parts.resolved.config_yaml
    saves = enable_checkpointing is not False and not parts.is_dry_run
    if parts.is_dry_run:
        user_callbacks = [one for one in user_callbacks if not isinstance(one, ModelCheckpoint)]
    for callback in user_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(run.folder / "checkpoints")  # Lightning would write outside the run folder
    figures = options.figures
    if figures is None:
        figures = figures_are_available(parts.resolved.wandb_mode is not None)
    return build_callbacks(
        run,
        parts.signals,
        parts.resolved.resume,
        checkpoint=checkpoint if saves else None,
        early_stopping=built.early_stopping,
        lr_monitor=built.lr_monitor,
        stop_after_epoch=options.stop_after_epoch,
        keep_epochs=options.keep_epochs,
        user_callbacks=user_callbacks,
        loggers=loggers,
        histograms=options.histograms,
        figures=figures,
        gradients=options.wandb.gradients,
        record_predictions=options.record_predictions and not parts.is_dry_run,
    )
