"""Notes on a finished training: too few steps, or a result that is not better than a simple baseline."""

from pathlib import Path
from typing import Any

import torch

from litnets import LinearForecaster, MLPClassifier, MLPRegressor, UNetSegmenter
from litnets.cli.advice import advice, class_imbalance, seasonal_naive
from litnets.data import Digits, SeriesCSV, Shapes
from tests.helpers.tiny_series import write_series


def results(**changes: Any) -> dict[str, Any]:
    """The results of a training that gets no note."""
    return {"steps": 1000, "test": {"accuracy": 0.9, "r2": 0.8, "mse": 0.1}} | changes


def seasons() -> SeriesCSV:
    """A series with a period of 6 steps and a little noise."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(120) % 6 + 0.01 * torch.randn(120, generator=generator)
    write_series(Path("series.csv"), steps.double().unsqueeze(1).numpy(), ["a"])
    data = SeriesCSV("series.csv", look_back=8, horizon=9)
    data.ensure_setup()
    return data


def test_a_good_training_gets_no_note() -> None:
    data = Digits()
    assert advice(MLPClassifier((64,), num_classes=10), data, results()) == []
    assert class_imbalance(data) is None


def test_too_few_steps_are_reported() -> None:
    (line,) = advice(MLPClassifier((64,), num_classes=10), None, results(steps=20))
    assert line.startswith("only 20 optimizer steps")


def test_few_steps_are_enough_for_pretrained_weights() -> None:
    model = MLPClassifier((64,), num_classes=10)
    model.hparams["weights"] = "auto"
    assert advice(model, None, results(steps=20)) == []


def test_too_few_steps_are_not_reported_beside_a_best_epoch_that_is_the_last() -> None:
    """`stop_reason` then advises to train longer."""
    model = MLPClassifier((64,), num_classes=10)
    assert not advice(model, None, results(steps=20, epochs=2, best={"epoch": 2}))
    assert advice(model, None, results(steps=20, epochs=2, best={"epoch": 1}))


def test_an_accuracy_below_the_most_frequent_class_is_reported() -> None:
    (line,) = advice(MLPClassifier((64,), num_classes=10), Digits(), results(test={"accuracy": 0.05}))
    assert line == "test accuracy 0.0500 is not above 0.1031, that of the most frequent class"


def test_masks_worse_than_the_most_frequent_class_are_reported() -> None:
    data = Shapes(samples=64, size=32)
    data.ensure_setup()
    targets = data.splits["test"][torch.arange(len(data.splits["test"]))][1]
    background = float((targets == 0).float().mean())
    assert background > 0.5
    model = UNetSegmenter((3, 32, 32), num_classes=4, ignore_index=255, widths=[4])
    results = {"steps": 1000, "test": {"accuracy": background - 1e-4}}
    (line,) = advice(model, data, results)
    assert line.startswith(f"test accuracy {background - 1e-4:.4f} of the pixels is not above {background:.4f}")
    assert advice(model, data, {"steps": 1000, "test": {"accuracy": background + 1e-4}}) == []


def test_predictions_worse_than_the_mean_are_reported() -> None:
    (line,) = advice(MLPRegressor((10,), num_targets=1), Digits(), results(test={"r2": -0.1}))
    assert line == "test r2 -0.1000 is not above 0, that of the mean of the targets"


def test_a_forecast_worse_than_the_seasonal_naive_one_is_reported() -> None:
    data = seasons()
    period, error = seasonal_naive(data)
    assert period == 6
    assert error < 1e-3
    model = LinearForecaster((8, 1), horizon=9, channel_names=["a"])
    (line,) = advice(model, data, results())
    assert line.startswith("test mse 0.1000 is not below ")
    assert line.endswith("that of repeating the last 6 steps")
    assert advice(model, data, results(test={"mse": error / 2})) == []
