"""Resolve what a command works on: the run folder, its split, the checkpoint, and what is resumed."""

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from litnets.cli.defaults import default_experiment
from litnets.data.core.split_record import SplitRecord
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.storage import read_text
from litnets.safety.escaping import printable
from litnets.safety.plain import load_yaml
from litnets.tracking.wandb_logger import Mode, resolve_wandb_mode
from litnets.training.checkpoints.loading import find_checkpoint, load_checkpoint, usable_checkpoint
from litnets.training.resume.plan import ResumePlan, plan_resume
from litnets.training.trainer import fastest_precision


@dataclass(frozen=True)
class ResolvedRun:
    """What a command works on.

    Args:
        config_yaml: The complete configuration.
        run: The run that is resumed or evaluated; None for a new run, or for weights from outside a run folder.
        checkpoint: The checkpoint to load; None starts from the model's initial weights.
        checkpoint_content: The content of the checkpoint.
        resume: What a resumed run continues from; None if no run is resumed.
        init_from: The checkpoint whose weights a new run starts with.
        split_record: The split that the checkpoint was trained with; None if the run has not recorded a split.
        output: Where predictions are written instead of the run folder (`--output`).
        labeled_path: New labeled data to test on instead of the test split (`--on`).
        wandb_mode: Whether W&B logs the command online or offline; None if it does not log it.
        wandb_note: A line that reports why W&B is not online.
    """

    config_yaml: str
    run: Run | None = None
    checkpoint: Path | None = None
    checkpoint_content: dict[str, Any] | None = None
    resume: ResumePlan | None = None
    init_from: Path | None = None
    split_record: SplitRecord | None = None
    output: Path | None = None
    labeled_path: Path | None = None
    wandb_mode: Mode | None = None
    wandb_note: str | None = None

    @property
    def predictions(self) -> Path | None:
        """Where predictions are written; None if there is no run folder to write them to."""
        return self.output or (None if self.run is None else self.run.predictions)


def fill_in_defaults(config: Namespace) -> None:
    """Set, in place, the options of a command whose defaults depend on other options.

    Args:
        config: The parsed options of the command.
    """
    if config.experiment is None:
        paths = config_paths(config)
        config.experiment = paths[0].stem if paths else default_experiment(config)
    stopping = config.get("early_stopping")
    if stopping and stopping.check_on_train_epoch_end is None and str(stopping.monitor).startswith("train"):
        stopping.check_on_train_epoch_end = True  # a training metric is not available yet after each validation
    if config.trainer.precision == "auto":
        config.trainer.precision = fastest_precision(config.trainer.accelerator)


def resolve_run(
    command: str, config: Namespace, config_yaml: str, ckpt_path: str | None, resumed_run: Run | None = None
) -> ResolvedRun:
    """Resolve the run folder and the checkpoint of a command. Lock the folder if the command writes into it.

    Args:
        command: fit, validate, test or predict.
        config: The parsed options of the command.
        config_yaml: The complete configuration as YAML.
        ckpt_path: `--ckpt_path`: a file, `best`, `last` or None.
        resumed_run: The run of `litnets resume`.

    Raises:
        InputError: There is no such run or checkpoint, or the options contradict each other.
        NothingToDo: The run to resume is finished.
    """
    wandb_mode, wandb_note = _resolve_wandb_mode(command, config)
    config_run = _run_of_config(config)
    is_dry_run = bool(config.trainer.fast_dev_run)
    output = None if config.get("output") is None else Path(config.output)
    is_requeued = False
    if command == "fit" and resumed_run is None:
        if ckpt_path == "last":
            resumed_run = config_run
        elif ckpt_path is None:
            resumed_run = Run.requeued(Path(config.runs_dir), config.experiment)
            is_requeued = resumed_run is not None
    if resumed_run is not None:
        lock_run(resumed_run, is_dry_run)  # before its checkpoint is read, which another process might replace
        resumed_run.read_results()  # otherwise a damaged file would be reported only after training
        checkpoint = _last_checkpoint(resumed_run, ckpt_path, may_restart=is_requeued)
    else:
        checkpoint = find_checkpoint(ckpt_path, config_run, command, is_dry_run)
    run = resumed_run if command == "fit" else config_run or _run_of_checkpoint(checkpoint)
    if command == "predict" and run is not None and output is None:
        lock_run(run, is_dry_run)
    init_from = _resolve_init_from(config.init_from, run, is_new=command == "fit" and checkpoint is None)
    content = None if checkpoint is None else load_checkpoint(checkpoint)
    resume = None if resumed_run is None else plan_resume(resumed_run, checkpoint, content, config, config_yaml)
    labeled_path = _resolve_labeled_path(config, content)
    keeps_split = not config.get("split_again") and labeled_path is None
    split_record = _load_split_record(run, checkpoint) if keeps_split else None
    return ResolvedRun(
        config_yaml,
        run=run,
        checkpoint=checkpoint,
        checkpoint_content=content,
        resume=resume,
        init_from=init_from,
        split_record=split_record,
        output=output,
        labeled_path=labeled_path,
        wandb_mode=wandb_mode,
        wandb_note=wandb_note,
    )


def _resolve_labeled_path(config: Namespace, content: Mapping[str, Any] | None) -> Path | None:
    if (path := config.get("on")) is None:
        return None
    if content is None:
        raise InputError("--on evaluates a trained run: litnets test RUN --on NEW")
    if config.get("split_again"):
        raise InputError("--on and --split_again: data given with --on are not split; omit one of them")
    return Path(path)


def _resolve_wandb_mode(command: str, config: Namespace) -> tuple[Mode | None, str | None]:
    logger_specs = as_list(config.trainer.logger)
    uses_wandb = command == "fit" and not config.trainer.fast_dev_run and logger_specs != [False]
    return resolve_wandb_mode(config.wandb.mode, logger_specs) if uses_wandb else (None, None)


def _load_split_record(run: Run | None, checkpoint: Path | None) -> SplitRecord | None:
    """Return the split that the run of the checkpoint has recorded; without such a run, that of `run`."""
    run = _run_of_checkpoint(checkpoint) or run
    return SplitRecord.load(run.split) if run is not None and run.split.exists() else None


@rank_zero_only
def lock_run(run: Run, is_dry_run: bool) -> None:
    """Lock the folder of a run if this command writes into it. Of several processes, only the first locks it."""
    if not is_dry_run:
        run.lock()


def check_config_files(args: list[str]) -> None:
    """Check that the configurations of runs are regular files.

    A configuration outside a run folder may be a FIFO, as in the shell's `--config <(command)`.

    Args:
        args: The arguments of the command line.

    Raises:
        InputError: One of them is not a regular file. Reading a FIFO, for example, might never end.
    """
    joined = [match[1] for arg in args if (match := re.match(r"(?:--config=|-c=?)(.+)", arg))]
    paths = [Path(path) for path in (*joined, *(path for name, path in pairwise(args) if name in ("--config", "-c")))]
    for path in paths:
        if Run.from_config(path) is not None:
            read_text(path)


def check_runs_dir(config: Namespace, args: list[str]) -> None:
    """Check that the configuration of a run, which may come from somebody else, does not choose where new runs go.

    Args:
        config: The parsed options of `fit`.
        args: The arguments of the command line. A `--runs_dir` among them is the user's choice.

    Raises:
        InputError: The configuration's `runs_dir` is neither below the working directory nor where its run is.
    """
    run, runs_dir = _run_of_config(config), Path(config.runs_dir)
    if run is None or any(arg == "--runs_dir" or arg.startswith("--runs_dir=") for arg in args):
        return
    is_below_working_directory = not runs_dir.is_absolute() and ".." not in runs_dir.parts
    # A run is in <runs_dir>/<experiment>, or in the folder of a cross-validation there.
    if not is_below_working_directory and runs_dir.resolve() not in run.folder.resolve().parents[1:3]:
        raise InputError(
            f"{run.folder}: its configuration sets runs_dir to {config.runs_dir}, but the run is elsewhere; "
            "set --runs_dir DIR, the folder for the new run"
        )


def _run_of_config(config: Namespace) -> Run | None:
    runs = (Run.from_config(path) for path in config_paths(config))
    return next((run for run in runs if run is not None), None)


def _run_of_checkpoint(checkpoint: Path | None) -> Run | None:
    return None if checkpoint is None else Run.from_checkpoint(checkpoint)


def as_list(value: Any) -> list[Any]:
    """Return an option that may be absent, one value or a list of values as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def config_paths(config: Namespace) -> list[Path]:
    """Return the files of `--config`."""
    return [Path(path.relative) for path in config.get("config") or [] if path is not None]  # None: inline YAML


def _last_checkpoint(run: Run, ckpt_path: str | None, may_restart: bool) -> Path | None:
    """Return the checkpoint to resume a run from.

    Args:
        run: The run.
        ckpt_path: `--ckpt_path`.
        may_restart: Whether a run without checkpoints may start over in its folder; the result is then None.
    """
    if ckpt_path not in (None, "last", str(run.last)):
        raise InputError(
            f"resume continues from {run.last}; `litnets fit --init_from {ckpt_path}` starts a new run with the "
            "weights of another checkpoint"
        )
    if run.last.exists():
        return usable_checkpoint(run, run.last)
    # Without results.json, the run was killed, and best.ckpt may be all that it had saved by then.
    if run.best.exists() and (may_restart or not run.results.exists()):
        print(printable(f"litnets: {run.folder} has no last.ckpt; best.ckpt is used instead"), file=sys.stderr)
        return usable_checkpoint(run, run.best)
    if may_restart:
        return None
    new_run = f"litnets fit --config {shlex.quote(str(run.configs[-1]))}"
    if run.best.exists():
        best = shlex.quote(str(run.best))
        raise InputError(
            f"{run.folder} has no last.ckpt to resume from, only best.ckpt; start a new run with its weights: "
            f"{new_run} --init_from {best}"
        )
    raise InputError(f"{run.folder} has no checkpoint to resume from; start a new run: {new_run}")


def _resolve_init_from(init_from: str | None, run: Run | None, is_new: bool) -> Path | None:
    """Return the checkpoint that a new run starts with. A resumed run may only repeat the original value."""
    if init_from is None or is_new:
        return None if init_from is None else Path(init_from)
    if run is None or init_from != _saved_init_from(run):
        raise InputError("--init_from starts a new run, so it cannot be combined with a checkpoint or a resumed run")
    return None


def _saved_init_from(run: Run) -> Any:
    if not run.config.exists():
        return None
    config = load_yaml(str(run.config), read_text(run.config))
    return config.get("init_from") if isinstance(config, dict) else None
