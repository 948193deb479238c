"""The command `litnets`, also `python -m litnets`. Torch is imported only by the commands that need it."""

import gc
import sys
from collections.abc import Callable

from litnets.cli.commands import COMMANDS, check_command, import_command
from litnets.cli.standard_streams import (
    BROKEN_PIPE_EXIT_CODE,
    open_missing_streams,
    set_output_encoding,
    silence_broken_streams,
)
from litnets.errors import InputError
from litnets.safety.escaping import printable

_SUMMARIES = "\n".join(f"  {name:<12}{command.summary}" for name, command in COMMANDS.items())
HELP = f"""\
usage: litnets COMMAND [--config FILE] [--key value ...]

Train, test and use neural networks with PyTorch Lightning.

commands:
{_SUMMARIES}

RUN is a run folder, the name of an experiment (its newest run), or a checkpoint in a run folder.

examples:
  litnets fit --config configs/digits_mlp.yaml
  litnets fit --config configs/digits_mlp.yaml --model.lr 0.01 --trainer.max_epochs 5
  litnets fit --model CNNClassifier --data FashionMNIST
  litnets test checkpoints/digits_mlp/<run>
  litnets resume checkpoints/digits_mlp/<run>
  litnets predict my_table new.csv --output predictions.csv

  litnets fit --help                        all options of a command
  litnets fit --model.help MLPClassifier    all options of a model (--data.help Digits: of a data set)
  litnets fit --config FILE --print_config  print the complete configuration and exit
  --debug (or LITNETS_DEBUG=1)              show the traceback of an error
"""


def main(args: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        args: The command and its arguments (default: those of the command line).

    Example:
        >>> main(["fit", "--model", "MLPClassifier", "--data", "Digits"])  # doctest: +SKIP
        0
    """
    if args is not None:
        return _run(args, import_command)
    open_missing_streams()
    set_output_encoding()
    try:
        code = _run(sys.argv[1:], _import_without_garbage_collection)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not silence_broken_streams():
            raise
        return BROKEN_PIPE_EXIT_CODE
    finally:
        gc.unfreeze()  # triton reports objects that are never collected as leaks


def _run(args: list[str], import_command: Callable[[str], Callable[[list[str]], int]]) -> int:
    if args and args[0] in ("-h", "--help", "help"):
        args = [*args[1:2], "--help"] if args[1:2] and args[1] in COMMANDS else []  # litnets help fit
    if not args:
        print(HELP, end="")
        return 0
    if args[0] in ("-V", "--version"):
        from litnets import __version__

        print(f"litnets {__version__}")
        return 0
    try:
        check_command(args)
        try:
            command = import_command(args[0])
        except OSError as error:  # torch creates a temporary folder, which fails on a full disk
            raise InputError(f"{args[0]} cannot start: {error}") from error
        return command(args[1:])
    except InputError as error:
        print(f"litnets: {printable(str(error), lines=True)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # during the imports, before the command handles signals
        return 130


def _import_without_garbage_collection(name: str) -> Callable[[list[str]], int]:
    """Import a command without garbage collection, and exclude what was imported from later collections.

    Imported objects live as long as the process. Searching them for garbage again and again takes a fifth of the
    start-up time.
    """
    gc.disable()
    try:
        command = import_command(name)
    finally:
        gc.enable()
    gc.freeze()
    return command


if __name__ == "__main__":
    sys.exit(main())
