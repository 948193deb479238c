"""Run a command inside a Python program, and leave the process as it was."""

import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.exceptions import SIGTERMException

from litnets.cli.app import LitnetsCLI
from litnets.cli.main import silence_lightning
from litnets.cli.reporting import logged_metrics
from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import released_locks
from litnets.runs.print_results import summarize
from litnets.safety.escaping import printable
from litnets.tracking.wandb_logger import finish_wandb_on_exit
from litnets.training.resume.config_diff import NothingToDo
from litnets.training.signals import Signals, Stop

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")


@dataclass
class Outcome:
    """The result of a command.

    Args:
        run: The run folder that it worked on.
        metrics: The metrics of its last evaluation.
    """

    run: Run | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def train_in_folder(options: list[str], run: Run, resumes: bool) -> None:
    """Train a run in its folder, like `litnets fit` or `litnets resume`; see `litnets.tuning.jobs.Train`."""
    if resumes:
        run_command(["fit", "--config", str(run.configs[-1]), *options], resume=run)
    else:
        run_command(["fit", *options], new_run=run)


def run_command(
    args: list[str],
    resume: Run | None = None,
    datamodule: LightningDataModule | None = None,
    new_run: Run | None = None,
) -> Outcome:
    """Run a command as the command line does.

    Args:
        args: The command and its options.
        resume: The run to resume, or None.
        datamodule: The data, if they are in memory.
        new_run: The new run, if its folder is not to be named after the current time.

    Raises:
        InputError: An error that the user can fix.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    signals = Signals(exits=False)
    outcome = Outcome(resume)
    stopped_by: list[BaseException] = []

    @finish_wandb_on_exit
    def run() -> int:
        try:
            with signals:
                cli = LitnetsCLI(args, signals, resume, datamodule, new_run)
                outcome.run, outcome.metrics = cli.run, summarize(logged_metrics(cli.trainer))[0]
        except NothingToDo as message:
            print(printable(str(message), lines=True))
        except MisconfigurationException as error:
            raise InputError(str(error)) from error
        except (Stop, SIGTERMException) as error:
            stopped_by.append(error)
            return 128 + (signals.received or signal.SIGTERM)
        except Exception as error:
            if signals.received is None:
                raise
            stopped_by.append(error)  # for example because the same Ctrl-C ended a DataLoader worker
            return 128 + signals.received
        return 0

    try:
        with released_locks(), restored_process_state():
            # jsonargparse stores the parser and all objects that it has built in a ContextVar. A copy of the context
            # keeps them out of the program's context.
            code = copy_context().run(run)
    finally:
        if datamodule is not None:
            datamodule.trainer = None  # which would keep the model in memory
            if isinstance(datamodule, ArrayDataModule):
                datamodule.start_at(0, 0)
    if stopped_by:
        _raise_signal(code - 128, stopped_by[0])
    return outcome


def _raise_signal(signum: int, error: BaseException) -> NoReturn:
    """Raise the signal that ended the training, as if the program had received it."""
    if signum == signal.SIGINT:
        raise KeyboardInterrupt from error
    signal.raise_signal(signum)
    raise SystemExit(128 + signum) from error  # if the program handles the signal


@contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore what a command changes: random generators, environment, warnings, levels of loggers and `sys.path`."""
    environment, path = dict(os.environ), list(sys.path)
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings(), torch.random.fork_rng(range(torch.cuda.device_count())):
        silence_lightning()
        os.environ.pop("SLURM_RESTART_COUNT", None)  # a requeued job is resumed only by the command line
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)  # as on the command line
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            sys.path[:] = path
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
