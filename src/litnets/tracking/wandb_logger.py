"""Weights & Biases: one W&B run per run folder, online, offline or off, with all of its files inside the folder."""

import functools
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, ParamSpec
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, WandbLogger

from litnets import former_names
from litnets.errors import InputError
from litnets.internals import has_wandb_run, set_wandb_run
from litnets.runs.folder import Run
from litnets.runs.storage import damaged, read_json
from litnets.safety.escaping import printable
from litnets.tracking.wandb_login import logged_in, service

Mode = Literal["online", "offline"]
P = ParamSpec("P")

# Seconds to wait for the service to answer, to start a run, and to receive the last values of a run. Values that it has
# not received by then can be sent with `litnets sync`.
_CONNECT_TIMEOUT = 5
_INIT_TIMEOUT = 30
_FINISH_TIMEOUT = 60
_FINISH_TIMEOUT_WITH_MODEL = 600

# The folder inside the run folder that each environment variable is set to. wandb writes copies of artifacts, its logs
# and the files of spawned processes there.
_PLACES = {"WANDB_DATA_DIR": "wandb/files", "WANDB_CACHE_DIR": "wandb/files", "WANDB_DIR": "."}
_env_vars_set: list[str] = []  # the variables that were set here, to be removed at the end


@dataclass(frozen=True)
class WandbOptions:
    """Weights & Biases.

    Args:
        mode: `online`; `offline`, to be uploaded later with `litnets sync RUN`; `off`; or `auto`, which follows
            WANDB_MODE; if that is not set, W&B is online if you are logged in (`wandb login`, or WANDB_API_KEY) and off
            otherwise. If the service does not answer within seconds, the run is logged offline.
        project: Project on W&B (default: WANDB_PROJECT, or `litnets`).
        entity: Account or team that owns the project (default: your own).
        name: Name of the run (default: experiment and time, like its folder).
        tags: Tags of the run. Default: none.
        group: Group of the run; W&B shows the runs of a group together. Default: none.
        notes: A longer description of the run. Default: none.
        log_model: Upload the best checkpoint as an artifact with the aliases `best` and `latest`.
        gradients: Log histograms of the gradients whenever the loss is logged.
    """

    mode: Literal["auto", "online", "offline", "off"] = "auto"
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    group: str | None = None
    notes: str | None = None
    log_model: bool = False
    gradients: bool = False


class WandbRun(WandbLogger):
    """A WandbLogger whose W&B run belongs to a run folder.

    Resuming the run resumes the W&B run, and wandb's files are inside the folder. The W&B run starts on first use, and
    only in the first process.

    Args:
        run: The run; its `wandb/run.json` holds the id of the W&B run.
        mode: `online` becomes `offline`, with a message, if the service does not answer.
        shown: Shown on W&B as the run's configuration.
        directions: `min` or `max` for each metric whose best value the summary shows.
        options: Arguments of WandbLogger.
    """

    def __init__(
        self,
        run: Run,
        mode: Mode,
        shown: Mapping[str, Any],
        directions: Mapping[str, str],
        **options: Any,
    ) -> None:
        if options.get("offline") or options.pop("mode", None) in ("offline", "dryrun"):
            mode = "offline"
        project = options.get("project") or os.environ.get("WANDB_PROJECT") or default_project(run)
        self.options = options | {"project": project, "save_dir": run.folder, "offline": False}
        super().__init__(**self.options)
        self.run, self.mode, self._directions = run, mode, dict(directions)
        self._shown = dict(shown)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run object of wandb."""
        if not has_wandb_run(self):  # WandbLogger itself cannot fall back to offline
            set_wandb_run(self, self._init_run())
        return super().experiment

    def _init_run(self) -> Any:
        import wandb

        folder = self.run.folder / "wandb"
        folder.mkdir(exist_ok=True)
        for place, within in _PLACES.items():
            if place not in os.environ:
                os.environ[place] = str((self.run.folder / within).absolute())
                _env_vars_set.append(place)
        # A resumed run must continue W&B's own count of rows at a number that it has not reached before. The size of
        # the files so far is safe, because each row takes more than one byte.
        first = sum(file.stat().st_size for file in folder.glob("*run-*/*.wandb"))
        only_for_logger = ("prefix", "log_model", "checkpoint_name", "add_file_policy", "experiment", "version")
        not_for_init = (*only_for_logger, "save_dir", "offline", "anonymous")
        init = {name: value for name, value in self.options.items() if name not in not_for_init}
        configured_id = self.options.get("id") or self.options.get("version")
        init |= {"dir": str(self.run.folder.absolute()), "id": self._id_of_folder(configured_id), "resume": "allow"}
        init["name"] = init.get("name") or f"{self.run.folder.parent.name}/{self.run.folder.name}"
        finish_timeout = _FINISH_TIMEOUT_WITH_MODEL if self.options.get("log_model") else _FINISH_TIMEOUT
        settings = wandb.Settings(
            quiet=True, show_info=False, init_timeout=_INIT_TIMEOUT, finish_timeout=finish_timeout
        )
        init = {"settings": settings, **init}
        wandb_run = None
        if self.mode == "online":
            try:
                _ping(service())
                wandb_run = wandb.init(**init, mode="online")
            except (OSError, HTTPException, wandb.Error) as error:
                reason = " ".join(str(error).split())[:200]
                print(printable(f"W&B: {service()}: {reason}; logging offline instead"), flush=True)
                self.mode = "offline"
                wandb.teardown()  # a half-started run would keep the id
        if wandb_run is None:
            try:
                wandb_run = wandb.init(**init, mode="offline")
            except wandb.Error as error:
                raise InputError(f"wandb: {error}") from error
        where = wandb_run.url if self.mode == "online" else f"offline, run {wandb_run.id}"
        print(printable(f"W&B: {where}"), flush=True)
        wandb_run.define_metric("trainer/global_step")
        wandb_run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        for name, direction in self._directions.items():
            wandb_run.define_metric(
                name, step_metric="trainer/global_step", step_sync=True, summary=f"{direction},last"
            )
        wandb_run.config.update(self._shown, allow_val_change=True)
        if first:
            wandb_run.log({}, step=first, commit=False)
        return wandb_run

    def _id_of_folder(self, configured_id: str | None) -> str:
        """Return the id in the run folder, or store one: the configured id, a sweep agent's, or a new one."""
        path = self.run.folder / "wandb" / "run.json"
        if path.exists():
            saved = read_json(path).get("id")
            if not isinstance(saved, str) or not re.fullmatch(r"[^/\\#?%:\x00-\x1f]{1,128}", saved):
                raise damaged(path, f"expected `id` to be the id of a W&B run, got {saved!r}")
            return saved
        new = configured_id or os.environ.get("WANDB_RUN_ID") or uuid4().hex[:8]
        self.run.write_json(path, {"id": new, "project": self.options["project"]})
        return new


def default_project(run: Run) -> str:
    """Return the project that a run was logged to, or the name of the package for a new run."""
    package = __name__.partition(".")[0]
    path = run.folder / "wandb" / "run.json"
    if not path.exists():
        return package
    # Up to version 0.1 the project was not saved; it was the name of the package, which `make rename` changes.
    return str(read_json(path).get("project") or (*former_names.FORMER_NAMES, package)[0])


class Gradients(Callback):
    """Log histograms of the gradients to W&B whenever the loss is logged."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, WandbLogger):
                logger.watch(pl_module, log="gradients", log_freq=every, log_graph=False)


def resolve_wandb_mode(mode: str, logger_specs: Sequence[Any]) -> tuple[Mode | None, str | None]:
    """Resolve `--wandb.mode`.

    Args:
        mode: `--wandb.mode`.
        logger_specs: The loggers in the configuration; a WandbLogger among them asks for W&B.

    Returns:
        The mode, or None if W&B is off; and, for `auto` without a login, a line that reports why W&B is not online.

    Raises:
        InputError: Online, but not logged in.
    """
    if mode == "auto":
        from_environment = os.environ.get("WANDB_MODE", "")
        mode = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "off"}.get(
            from_environment, "auto"
        )
    if mode == "auto" and not logged_in():
        if any(map(_names_wandb, logger_specs)):
            return "offline", "W&B offline: not logged in (run `wandb login`, then `litnets sync RUN`)"
        return None, "W&B disabled: not logged in (run `wandb login`; silence this with --wandb.mode off)"
    if mode == "online" and not logged_in():
        raise InputError("--wandb.mode online: not logged in; run `wandb login`, set WANDB_API_KEY, or use offline")
    return (None if mode == "off" else "offline" if mode == "offline" else "online"), None


def _ping(address: str) -> None:
    """Raise OSError if the service does not answer; an HTTP error is an answer."""
    try:
        urlopen(address, timeout=_CONNECT_TIMEOUT).close()
    except HTTPError:
        return


@dataclass(frozen=True)
class WandbSetup:
    """The settings of the W&B loggers of a run.

    Args:
        mode: Online or offline.
        options: `--wandb.*`.
        logger_specs: The entries of `trainer.logger` in the configuration.
        shown_config: Shown on W&B as the run's configuration.
        directions: `min` or `max` for each metric whose best value the summary shows.
    """

    mode: Mode
    options: WandbOptions
    logger_specs: Sequence[Any]
    shown_config: Mapping[str, Any]
    directions: Mapping[str, str]


def build_wandb_loggers(run: Run, setup: WandbSetup) -> list[WandbRun]:
    """Build a logger for each WandbLogger in the configuration, or one from `--wandb.*` if there is none.

    `--wandb.*` supplies the options that a WandbLogger in the configuration does not set.
    """
    specs: list[Any] = [spec.as_dict() for spec in setup.logger_specs if _names_wandb(spec)]
    return [_build_wandb_logger(run, setup, spec) for spec in specs or [None]]


def _build_wandb_logger(run: Run, setup: WandbSetup, spec: Any) -> WandbRun:
    arguments: dict[str, Any] = {"log_model": False, "save_dir": None}
    if spec is not None:
        arguments = {**spec.get("init_args", {}), **spec.get("dict_kwargs", {})}
        arguments = {name: value for name, value in arguments.items() if value is not None}
    for name in ("project", "entity", "name", "tags", "group", "notes"):
        arguments[name] = arguments.get(name) or getattr(setup.options, name)
    return WandbRun(run, setup.mode, setup.shown_config, setup.directions, **arguments)


def without_wandb(loggers: Sequence[Logger]) -> list[Logger]:
    """Return the loggers except the plain WandbLoggers that were built from the configuration."""
    return [logger for logger in loggers if type(logger) is not WandbLogger]


def _names_wandb(spec: Any) -> bool:
    return str(getattr(spec, "class_path", "")).rpartition(".")[2] == "WandbLogger"


def directions(model: LightningModule, monitor: str | None, mode: str) -> dict[str, str]:
    """Return `min` or `max` for each loss and validation metric of `model`: which values are better.

    Args:
        model: The model, whose metrics know their direction from torchmetrics.
        monitor: The monitored metric.
        mode: Its direction.
    """
    better = {"val/loss": "min", "train/loss": "min"}
    for name, metric in getattr(model, "val_metrics", {}).items():
        if metric.higher_is_better is not None:
            better[name] = "max" if metric.higher_is_better else "min"
    return better | ({monitor: mode} if monitor is not None else {})


def log_final_results(
    loggers: Sequence[Logger], options: WandbOptions, results: Mapping[str, Any], best: Path | None
) -> None:
    """Log the best score and its epoch to W&B, and upload the best checkpoint with `--wandb.log_model`."""
    for logger in loggers:
        if not isinstance(logger, WandbRun):
            continue
        if score := results.get("best"):
            # Log a row, because a sweep compares logged values and ignores the summary's `max`.
            row = {f"best/{score['monitor']}": score["score"], "best/epoch": score["epoch"]}
            logger.log_metrics(row, results.get("steps"))
        if options.log_model and best is not None:
            import wandb

            artifact = wandb.Artifact(f"model-{logger.experiment.id}", "model", metadata=dict(results))
            artifact.add_file(str(best))
            logger.experiment.log_artifact(artifact, aliases=["best", "latest"])


def sync_commands(loggers: Sequence[Logger]) -> list[str]:
    """Return the commands that upload the offline runs."""
    folders = [logger.run.folder for logger in loggers if isinstance(logger, WandbRun) and logger.mode == "offline"]
    return [f"litnets sync {shlex.quote(str(folder))}" for folder in folders]


def _finish(wandb: Any, code: int) -> None:
    try:
        wandb.finish(exit_code=code)
    except Exception as error:  # an error of W&B must not change the outcome of the command
        text = f"W&B: the run could not be finished: {type(error).__name__}: {error}"
        print(printable(text), file=sys.stderr)


def finish_wandb_on_exit(command: Callable[P, int]) -> Callable[P, int]:
    """Decorate a function that runs a command, to finish its W&B run with the exit code of the command.

    An exception counts as exit code 1, an interrupt as 130.
    """

    @functools.wraps(command)
    def run_and_finish(*args: P.args, **kwargs: P.kwargs) -> int:
        code = 1
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = 130
            raise
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        finally:
            if (wandb := sys.modules.get("wandb")) is not None and getattr(wandb, "run", None) is not None:
                _finish(wandb, code)
            while _env_vars_set:
                os.environ.pop(_env_vars_set.pop(), None)
        return code

    return run_and_finish
