"""The argument RUN of a command: a run folder, the name of an experiment, or a checkpoint file."""

import sys
from argparse import ArgumentParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from litnets.errors import InputError
from litnets.runs.find import find_run, find_run_of_file
from litnets.runs.folder import Run
from litnets.safety.escaping import printable


class RunArgument(NamedTuple):
    """The run that the arguments of a command name.

    Args:
        run: The run; None if the arguments begin with an option.
        checkpoint: The checkpoint, if RUN is one.
        options: The arguments that follow RUN.
    """

    run: Run | None
    checkpoint: Path | None
    options: list[str]

    @property
    def selection(self) -> list[str]:
        """The options that select the run: its newest configuration, and the checkpoint."""
        if self.run is None:
            return []
        checkpoint = [] if self.checkpoint is None else ["--ckpt_path", str(self.checkpoint)]
        return ["--config", str(self.run.configs[-1]), *checkpoint]

    def choose_checkpoint(self, ckpt_path: str) -> Path | None:
        """Return the checkpoint that RUN and `--ckpt_path` choose; None for the best one of the run."""
        if self.checkpoint is not None or ckpt_path == "best" or self.run is None:
            return self.checkpoint
        return self.run.last if ckpt_path == "last" else Path(ckpt_path)


def parse_run_argument(args: list[str]) -> RunArgument:
    """Find the run that the first argument names, unless it is an option.

    Args:
        args: The arguments that follow the command.

    Raises:
        InputError: There is no such run.
    """
    if not args or args[0].startswith("-"):
        return RunArgument(None, None, args)
    where, options = args[0], args[1:]
    path = Path(where)
    if not path.is_file():
        return RunArgument(find_run(where, runs_dir_of(options)), None, options)
    is_config = path.suffix == ".yaml"
    return RunArgument(find_run_of_file(path), None if is_config else path, options)


def report_run(where: str, run: Run) -> None:
    """Print on stderr which run an experiment stands for. A run folder, or a checkpoint in it, needs no such line.

    Args:
        where: The argument RUN.
        run: The run that it names.
    """
    if not Path(where).is_file() and Path(where).name != run.folder.name:
        print(printable(f"litnets: {where}: the newest run is {run.folder}"), file=sys.stderr)


def add_run_options(parser: ArgumentParser) -> None:
    """Add the options of every command that loads the network of a run."""
    text = "best (the default), last, or a checkpoint file"
    parser.add_argument("--ckpt_path", default="best", metavar="FILE", help=text)
    parser.add_argument("--runs_dir", default="checkpoints", metavar="DIR", help="folder of the experiments")
    text = "a module that the run may import; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=text)


def find_device(name: str | None) -> Any:
    """Return the device that `--device` names; None for the default.

    Raises:
        InputError: There is no such device.
    """
    import torch

    if name is None:
        return None
    try:
        probe = torch.zeros(1, device=name)
        probe.cpu()  # fails on the device meta, which holds no numbers
        return probe.device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from error


def runs_dir_of(options: list[str]) -> Path:
    """Return `--runs_dir`, or its default."""
    values = [value for name, value in pairwise(split_options(options)) if name == "--runs_dir"]
    return Path(values[0] if values else "checkpoints")


def split_options(options: list[str]) -> list[str]:
    """Return the options with `--name=value` split into two."""
    return [part for option in options for part in (option.split("=", 1) if option.startswith("--") else [option])]
