"""`litnets fit`, `validate` and `test`: entry points of Lightning's Trainer.

litnets fit --config configs/digits_mlp.yaml --model.lr 0.01
litnets test checkpoints/digits_mlp/<run>
litnets validate checkpoints/digits_mlp/<run>/last.ckpt
"""

from litnets.cli.app import LitnetsCLI
from litnets.cli.command_parser import asks_for_help
from litnets.cli.main import run
from litnets.cli.run_argument import parse_run_argument
from litnets.training.signals import Signals


def fit(args: list[str]) -> int:
    """Train a network, then test the best checkpoint."""
    return run(LitnetsCLI, ["fit", *args])


def validate(args: list[str]) -> int:
    """Evaluate a checkpoint on the validation split."""
    return run(use_run, ["validate", *args])


def test(args: list[str]) -> int:
    """Evaluate a checkpoint on the test split."""
    return run(use_run, ["test", *args])


def use_run(args: list[str], signals: Signals) -> None:
    """Run `validate`, `test` or `predict` with the run that the first argument names or the options select."""
    if asks_for_help(args):  # the help is the same for all runs
        args = [args[0], "--help"]
    argument = parse_run_argument(args[1:])
    LitnetsCLI([args[0], *argument.selection, *argument.options], signals)
