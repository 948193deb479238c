"""Baselines: they are scored by the metrics of the task, and these agree with scikit-learn's and with arithmetic."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_squared_error, r2_score
from torch import Tensor

from litnets import LinearForecaster, MLPClassifier, MLPRegressor, RNNClassifier, UNetSegmenter
from litnets.analysis.baselines import compute_baselines, score
from litnets.analysis.forecast_baselines import find_period
from litnets.analysis.report.sections.forecasting import find_baseline_period
from litnets.data import ArrayData, BreastCancer, Diabetes, Digits, Iris, SeriesCSV, Shapes, TextFiles
from litnets.data.core.base import ArrayDataModule
from tests.helpers.tiny_series import write_series
from tests.helpers.tiny_text import rows, write_texts


def split(data: ArrayDataModule, part: str) -> tuple[Any, Any]:
    """The prepared inputs of a split, and its targets."""
    targets = data.splits[part].targets[data.splits[part].indices]
    return data.baseline_inputs(part), targets.numpy()


def test_classes_are_scored_as_scikit_learn_scores_them() -> None:
    data = Iris()
    data.ensure_setup()
    model = MLPClassifier(data.input_shape, num_classes=3)
    results = compute_baselines(model, data, fits_all=True)
    assert list(results) == ["most frequent class", "logistic regression", "gradient boosting"]
    (train, classes), (test, expected) = split(data, "train"), split(data, "test")
    methods = (DummyClassifier(strategy="prior"), LogisticRegression(max_iter=100))
    for name, method in zip(results, methods, strict=False):
        method.fit(train, classes)
        predicted = method.predict(test)
        assert results[name]["accuracy"] == pytest.approx(accuracy_score(expected, predicted))
        assert results[name]["f1"] == pytest.approx(f1_score(expected, predicted, average="macro"))
        assert results[name]["loss"] == pytest.approx(log_loss(expected, method.predict_proba(test)), rel=1e-4)
    assert results["gradient boosting"]["accuracy"] > 0.8
    assert all("seconds" in values for values in results.values())


def test_one_logit_gives_the_same_scores_as_two() -> None:
    data = BreastCancer()
    data.ensure_setup()
    two, one = (
        compute_baselines(MLPClassifier(data.input_shape, num_classes=2, loss=loss), data)["most frequent class"]
        for loss in (None, "BCEWithLogitsLoss")
    )
    del two["seconds"], one["seconds"]
    assert one == pytest.approx(two, rel=1e-5)


def test_numbers_are_scored_as_scikit_learn_scores_them() -> None:
    data = Diabetes()
    data.ensure_setup()
    scale = {"target_mean": data.target_mean, "target_std": data.target_std}
    model = MLPRegressor(data.input_shape, num_targets=1, **scale)
    results = compute_baselines(model, data, fits_all=True)
    (train, targets), (test, expected) = split(data, "train"), split(data, "test")
    for name, method in (("mean of the targets", DummyRegressor()), ("ridge regression", Ridge())):
        predicted = method.fit(train, targets).predict(test)
        assert results[name]["r2"] == pytest.approx(r2_score(expected, predicted), abs=1e-3)
        assert results[name]["rmse"] == pytest.approx(mean_squared_error(expected, predicted) ** 0.5, rel=1e-3)
    assert results["gradient boosting"]["r2"] > 0.2


def test_labels_are_predicted_by_their_frequency() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]] * 15)
    data = ArrayData(np.random.default_rng(0).normal(size=(60, 4)), labels)
    data.ensure_setup()
    model = MLPClassifier((4,), num_classes=3, multilabel=True)
    results = compute_baselines(model, data, fits_all=True)
    (_, train), (_, test) = split(data, "train"), split(data, "test")
    expected = ((train.mean(0) > 0.5) == test).mean()
    assert results["frequency of each label"]["accuracy"] == pytest.approx(expected)


def test_texts_are_classified_by_their_words() -> None:
    data = TextFiles(str(write_texts(Path("t.csv"), rows())))
    data.ensure_setup()
    model = RNNClassifier((None,), vocab_size=data.vocab_size, num_classes=3)
    results = compute_baselines(model, data, fits_all=True)
    assert results["TF-IDF and logistic regression"]["accuracy"] > results["most frequent class"]["accuracy"]


def test_masks_are_scored_by_the_metrics_of_the_task() -> None:
    data = Shapes(samples=64, size=32)
    data.ensure_setup()
    model = UNetSegmenter((3, 32, 32), num_classes=4, ignore_index=255, widths=[4])
    targets = data.splits["test"][torch.arange(len(data.splits["test"]))][1].long()
    outputs = torch.zeros(len(targets), 4, 32, 32)
    outputs[:, 0] = 1  # the background
    expected = score(model, [(outputs, targets)])
    (results,) = compute_baselines(model, data).values()
    assert {name: results[name] for name in ("iou", "dice", "accuracy")} == pytest.approx(
        {name: expected[name] for name in ("iou", "dice", "accuracy")}, rel=1e-5
    )


def seasons(noise: float = 0.01) -> SeriesCSV:
    """A series with a period of 6 steps and a little noise."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(240) % 6 + noise * torch.randn(240, generator=generator)
    write_series(Path("series.csv"), steps.double().unsqueeze(1).numpy(), ["a"])
    data = SeriesCSV("series.csv", look_back=8, horizon=9)
    data.ensure_setup()
    return data


def test_forecasts_repeat_the_last_period_or_are_linear() -> None:
    data = seasons()
    assert find_period(data) == 6
    model = LinearForecaster((8, 1), horizon=9, channel_names=["a"])
    results = compute_baselines(model, data, fits_all=True)
    assert list(results) == ["last value", "last 6 steps", "ridge regression"]
    assert find_baseline_period(results) == 6
    assert find_baseline_period([f"last {10**30} steps"]) is None  # a file that litnets did not write
    inputs, targets = data.splits["test"][torch.arange(len(data.splits["test"]))]
    assert isinstance(inputs, Tensor)
    last = data.prepare(inputs)[:, -1:] - data.prepare(targets)
    assert results["last value"]["mse"] == pytest.approx(float(last.square().mean()), rel=1e-5)
    assert results["last 6 steps"]["mse"] < 1e-3
    assert results["ridge regression"]["mse"] < 0.1 * results["last value"]["mse"]


def test_large_data_are_left_out_unless_they_are_asked_for() -> None:
    data = Digits()
    data.ensure_setup()
    model = MLPClassifier((64,), num_classes=10)
    assert list(compute_baselines(model, data)) == ["most frequent class"]  # the limit of the tests is 0
    assert list(compute_baselines(model, data, fits_all=True)) == ["most frequent class", "logistic regression"]


def test_scores_do_not_touch_the_metrics_of_the_model() -> None:
    model = MLPClassifier((4,), num_classes=2)
    model.test_metrics.update(torch.tensor([[0.9, 0.1]]), torch.tensor([0]), scores=torch.tensor([[1.0, 0.0]]))
    before = float(model.test_metrics["accuracy"].compute())
    score(model, [(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))])
    assert float(model.test_metrics["accuracy"].compute()) == before == 1.0


def test_scores_wait_for_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process scores the baselines when the others have finished."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    batch = torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    assert score(MLPClassifier((4,), num_classes=2), [batch])["accuracy"] == 1
