"""Notes on a finished training: too few steps, or a result that is not better than a simple baseline."""

from typing import Any

import pytest

from litnets import MLPClassifier
from litnets.cli.advice import advice, class_imbalance
from litnets.data import Digits


def results(**changes: Any) -> dict[str, Any]:
    """The results of a training that gets no note."""
    return {"steps": 1000, "test": {"accuracy": 0.9, "r2": 0.8, "mse": 0.1}} | changes


def test_a_good_training_gets_no_note() -> None:
    assert advice(MLPClassifier((64,), num_classes=10), results(), {"trees": {"accuracy": 0.8, "seconds": 2.0}}) == []
    assert class_imbalance(Digits()) is None


def test_too_few_steps_are_reported() -> None:
    (line,) = advice(MLPClassifier((64,), num_classes=10), results(steps=20), {})
    assert line.startswith("only 20 optimizer steps")


def test_few_steps_are_enough_for_pretrained_weights() -> None:
    model = MLPClassifier((64,), num_classes=10)
    model.hparams["weights"] = "auto"
    assert advice(model, results(steps=20), {}) == []


def test_too_few_steps_are_not_reported_beside_a_best_epoch_that_is_the_last() -> None:
    """`stop_reason` then advises to train longer."""
    model = MLPClassifier((64,), num_classes=10)
    assert not advice(model, results(steps=20, epochs=2, best={"epoch": 2}), {})
    assert advice(model, results(steps=20, epochs=2, best={"epoch": 1}), {})


@pytest.mark.parametrize(
    ("test", "scores", "expected"),
    [
        (
            {"accuracy": 0.9},
            {"most frequent class": {"accuracy": 0.1}, "trees": {"accuracy": 0.95}},
            "test accuracy 0.9000 is not above 0.9500, that of the best baseline (trees)",
        ),
        (
            {"mse": 0.1, "r2": 0.8},
            {"mean of the targets": {"r2": 0.8}},
            "test r2 0.8000 is not above 0.8000, that of the best baseline (mean of the targets)",
        ),
        (
            {"mse": 0.1, "mae": 0.2},
            {"last value": {"mse": 0.2}, "last 6 steps": {"mse": 0.05}},
            "test mse 0.1000 is not below 0.0500, that of the best baseline (last 6 steps)",
        ),
    ],
)
def test_a_network_that_is_not_better_than_a_baseline_is_reported(
    test: dict[str, float], scores: dict[str, dict[str, float]], expected: str
) -> None:
    assert advice(MLPClassifier((64,), num_classes=10), results(test=test), scores) == [expected]


def test_a_perfect_network_gets_no_note() -> None:
    perfect = {"trees": {"accuracy": 1.0}}
    assert advice(MLPClassifier((64,), num_classes=10), results(test={"accuracy": 1.0}), perfect) == []


def test_without_a_test_there_is_no_comparison() -> None:
    assert advice(MLPClassifier((64,), num_classes=10), {"steps": 1000}, {"trees": {"accuracy": 0.95}}) == []
