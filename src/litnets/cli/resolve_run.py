"""Resolve what a command works on: the run folder, the checkpoint, and what is resumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from litnets.cli.defaults import default_experiment
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.training.checkpoints.loading import find_checkpoint, load_checkpoint, usable_checkpoint
from litnets.training.resume.plan import ResumePlan, plan_resume
from litnets.training.trainer import fastest_precision


@dataclass(frozen=True)
class ResolvedRun:
    """What a command works on.

    Args:
        run: The run that is resumed or evaluated; None for a new one, or for weights from outside a run folder.
        checkpoint: The checkpoint to load; None starts from the model's initial weights.
        checkpoint_content: What it holds.
        resume: What a resumed run continues from; None if no run is resumed.
        init_from: The checkpoint whose weights a new run starts with.
    """

    run: Run | None = None
    checkpoint: Path | None = None
    checkpoint_content: dict[str, Any] | None = None
    resume: ResumePlan | None = None
    init_from: Path | None = None


def fill_in_defaults(config: Namespace) -> None:
    """Fill in, in place, the options of a command whose default depends on others.

    Args:
        config: The parsed options of the command.
    """
    if config.experiment is None:
        paths = _config_paths(config)
        config.experiment = paths[0].stem if paths else default_experiment(config)
    stopping = config.get("early_stopping")
    if stopping and stopping.check_on_train_epoch_end is None and str(stopping.monitor).startswith("train"):
        stopping.check_on_train_epoch_end = True  # a training metric is not available yet after each validation
    if config.trainer.precision == "auto":
        config.trainer.precision = fastest_precision(config.trainer.accelerator)


def resolve_run(
    command: str, config: Namespace, config_yaml: str, ckpt_path: str | None, resumed_run: Run | None = None
) -> ResolvedRun:
    """Resolve the run folder and the checkpoint of a command.

    Args:
        command: fit, validate, test or predict.
        config: The parsed options of the command.
        config_yaml: The same as YAML, complete.
        ckpt_path: `--ckpt_path`: a file, `best`, `last` or None.
        resumed_run: The run of `litnets resume`.

    Raises:
        InputError: There is no such run or checkpoint, or the options contradict each other.
        NothingToDo: The run to resume is finished.
    """
    config_run = next((run for path in _config_paths(config) if (run := Run.from_config(path)) is not None), None)
    if command == "fit" and resumed_run is None and ckpt_path is None:
        resumed_run = Run.requeued(Path(config.runs_dir), config.experiment)
    if resumed_run is not None:
        checkpoint = _last_checkpoint(resumed_run, ckpt_path)
    else:
        checkpoint = find_checkpoint(ckpt_path, config_run, command, bool(config.trainer.fast_dev_run))
        if command == "fit" and ckpt_path == "last":
            resumed_run = config_run
    run = resumed_run
    if command != "fit":
        run = config_run or (None if checkpoint is None else Run.from_checkpoint(checkpoint))
    init_from = _resolve_init_from(config.init_from, run, is_new=command == "fit" and checkpoint is None)
    content = None if checkpoint is None else load_checkpoint(checkpoint)
    resume = None if resumed_run is None else plan_resume(resumed_run, checkpoint, content, config, config_yaml)
    return ResolvedRun(run, checkpoint, content, resume, init_from)


def _config_paths(config: Namespace) -> list[Path]:
    return [Path(path.relative) for path in config.get("config") or [] if path is not None]  # None: inline YAML


def _last_checkpoint(run: Run, ckpt_path: str | None) -> Path | None:
    """Return the checkpoint to resume a run from; None if it was interrupted before the first one."""
    if ckpt_path not in (None, "last"):
        raise InputError(
            f"resume continues from {run.last}; `litnets fit --init_from {ckpt_path}` starts a new run with the "
            "weights of another checkpoint"
        )
    return usable_checkpoint(run, run.last) if run.last.exists() else None


def _resolve_init_from(init_from: str | None, run: Run | None, is_new: bool) -> Path | None:
    """Return the checkpoint that a new run starts with; one that is in the saved configuration has been used up."""
    if init_from is None or is_new:
        return None if init_from is None else Path(init_from)
    if run is None or init_from != yaml.safe_load(run.config.read_text()).get("init_from"):
        raise InputError("--init_from starts a new run, so it cannot be combined with a checkpoint or a resumed run")
    return None
