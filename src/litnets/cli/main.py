"""Run a command that trains or evaluates: signals, error messages and exit codes."""

import errno
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from litnets.errors import InputError, RenamedOptionWarning
from litnets.internals import is_rank_zero
from litnets.runs.lock import released_locks
from litnets.safety.escaping import printable
from litnets.tracking.wandb_logger import finish_wandb_on_exit
from litnets.training.resume.config_diff import NothingToDo
from litnets.training.signals import PeerProcessError, Signals, Stop, exit_code

# Warnings that a newcomer can do nothing about, or that are wrong here. All others are shown.
_QUIET_WARNINGS = (
    "The '.*_dataloader' does not have many workers",  # data in memory are batched fastest without
    "The number of training batches .* is smaller than the logging interval",  # each epoch is logged anyway
    "It is recommended to use `self.log\\(.*sync_dist=True",  # torchmetrics has synchronized all processes already
    "Be aware that when using `ckpt_path`, callbacks",  # the callbacks of the training, which do nothing in a test
    "You're resuming from a checkpoint that ended before the epoch ended",  # our DataLoaders start at that batch
    "Image size .* exceeds limit",  # a large JPEG, which is decoded at a fraction of its size
)

# Errors of the disk, its permissions or a path that is too long, not of the code.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)

_MAX_MESSAGE = 4000  # characters; a message may quote a cell of any length


def silence_lightning() -> None:
    """Hide Lightning's advertisements and its notes on missing hardware, but not its warnings."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _QUIET_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("always", category=RenamedOptionWarning)


def run(command: Callable[[list[str], Signals], object], args: list[str]) -> int:
    """Run a command that needs the Trainer, and return the exit code.

    User errors are reported in one or two lines; `--debug` or LITNETS_DEBUG=1 shows the traceback.

    Args:
        command: Called with `args` and the signal handlers.
        args: The arguments of the command line.
    """
    excepthook, showwarning = threading.excepthook, warnings.showwarning
    threading.excepthook = partial(_report_thread_error, excepthook)
    warnings.showwarning = partial(_show_warning, showwarning)
    try:
        with released_locks():  # after W&B has written its last files
            return _run(command, args)
    finally:
        threading.excepthook, warnings.showwarning = excepthook, showwarning


def _report_thread_error(
    excepthook: Callable[[threading.ExceptHookArgs], object], error: threading.ExceptHookArgs
) -> None:
    """Report in one line that the disk is full, which TensorBoard's thread may notice first."""
    if isinstance(error.exc_value, OSError) and error.exc_value.errno in _DISK_ERRORS:
        _report(error.exc_value)
    else:
        excepthook(error)


def _show_warning(
    showwarning: Callable[..., None], message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any
) -> None:
    """Show the new name of a renamed option in one line, without the source line that Python adds to a warning."""
    if not issubclass(category, RenamedOptionWarning):
        showwarning(message, category, *args, **kwargs)
    else:
        rank_zero_only(_report)(message)


@finish_wandb_on_exit
def _run(command: Callable[[list[str], Signals], object], args: list[str]) -> int:
    debug = "--debug" in args or os.environ.get("LITNETS_DEBUG", "0") not in ("", "0")
    silence_lightning()
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # so that `--model mine.Net` finds mine.py; last, so that it hides no package
    args = [arg for arg in args if arg != "--debug"]
    with Signals() as signals:
        try:
            _check_encoding(args)
            command(args, signals)
        except NothingToDo as message:
            print(printable(str(message), lines=True))
        except (InputError, MisconfigurationException) as error:
            if debug:
                traceback.print_exc()
            else:
                _report(error)
            return 2
        except OSError as error:
            if debug or error.errno not in _DISK_ERRORS:
                raise
            _report(error)
            return 2
        except (Stop, SIGTERMException):
            return exit_code(signals.received or signal.SIGTERM)  # which prints the signal
        except PeerProcessError as error:  # the message names the process and its error
            if not is_rank_zero():
                return 0  # Lightning kills the first process if another one exits with an error
            _report(error)
            return 1
        except Exception as error:
            if signals.received is None:
                raise
            # For example a DataLoader worker that the same Ctrl-C ended.
            _report(f"{type(error).__name__}: {error}")
            return exit_code(signals.received)
    return 0


def _report(error: object) -> None:
    """Print an error, which may quote names and values from data."""
    text = str(error)
    text = text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]} ..."
    print(f"litnets: {printable(text, lines=True)}", file=sys.stderr)


def _check_encoding(args: list[str]) -> None:
    """Raise InputError for an argument that is not UTF-8, which could not be written to config.yaml, or that the locale
    has read as something else."""
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError as error:
            is_utf8 = "\ufffd" not in os.fsencode(arg).decode(errors="replace")
            hint = "unknown to this locale; set PYTHONUTF8=1" if is_utf8 else "not UTF-8; rename the file or folder"
            raise InputError(f"{arg}: {hint}") from error
