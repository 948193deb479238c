"""The commands.

To add a command, write a module in this package with a function of the command's name, which takes the arguments that
follow the name and returns the exit code, and add a line to `COMMANDS`:

    # litnets/cli/commands/scores.py
    def scores(args: list[str]) -> int: ...
"""

from collections.abc import Callable
from typing import NamedTuple

from litnets.cli.slips import command_first, correct_command
from litnets.errors import InputError
from litnets.safety.resolving import import_object


class Command(NamedTuple):
    """A command's module in this package and its line in `litnets --help`."""

    module: str
    summary: str


COMMANDS = {
    "fit": Command("trainer", "train a network, then test the best checkpoint"),
    "validate": Command("trainer", "evaluate a run on the validation split: validate RUN [--key value ...]"),
    "test": Command("trainer", "evaluate a run on the test split or on new data: test RUN [--on NEW]"),
    "predict": Command("predict", "predict files, folders or texts, or the test split: predict RUN [INPUT...]"),
    "report": Command("report", "write a page on how good a run is and where it fails: report RUN"),
    "export": Command("export", "write a network for programs without PyTorch (ONNX): export RUN [--format pt2]"),
    "compare": Command("compare", "show which run is best, and whether that is noise: compare RUN..."),
    "explain": Command("explain", "show what a network bases its answers on: explain RUN [INPUT...]"),
    "cv": Command("cv", "cross-validate: cv --config FILE --folds K [--repeats R] [--jobs N] [--key value ...]"),
    "seeds": Command("seeds", "train with several seeds: seeds --config FILE --seeds N [--jobs N] [--key value ...]"),
    "resume": Command("resume", "resume an interrupted run: resume [RUN] [--key value ...]"),
    "search": Command("search", 'search hyperparameters: search --config FILE --space "model.lr=log(1e-4,1e-1)"'),
    "lr": Command("lr", "suggest a learning rate, or with --batch_size a batch size: lr --config FILE"),
    "sync": Command("sync", "upload the W&B runs that were recorded offline"),
}


def check_command(args: list[str]) -> None:
    """Check that the command line begins with a command.

    Raises:
        InputError: It does not.
    """
    name = args[0]
    if name in COMMANDS:
        return
    if name.startswith("-"):
        raise InputError(f"the command comes first: {command_first(args, COMMANDS)}")
    raise InputError(f"no command '{name}'{correct_command(args, COMMANDS)} (choose from: {', '.join(COMMANDS)})")


def import_command(name: str) -> Callable[[list[str]], int]:
    """Import a command's module and return its function."""
    command: Callable[[list[str]], int] = import_object(f"{__name__}.{COMMANDS[name].module}.{name}")
    return command
