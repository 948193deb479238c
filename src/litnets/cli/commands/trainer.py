"""`litnets fit`, `validate`, `test` and `predict`: the four entry points of Lightning's Trainer.

litnets fit --config configs/digits_mlp.yaml --model.lr 0.01
litnets test --config checkpoints/digits_mlp/<run>/config.yaml
"""

from litnets.cli.app import LitnetsCLI
from litnets.cli.main import run


def fit(args: list[str]) -> int:
    """Train a network, then test the best checkpoint."""
    return run(LitnetsCLI, ["fit", *args])


def validate(args: list[str]) -> int:
    """Evaluate a checkpoint on the validation split."""
    return run(LitnetsCLI, ["validate", *args])


def test(args: list[str]) -> int:
    """Evaluate a checkpoint on the test split."""
    return run(LitnetsCLI, ["test", *args])


def predict(args: list[str]) -> int:
    """Write a checkpoint's predictions for the test split or for new data."""
    return run(LitnetsCLI, ["predict", *args])
