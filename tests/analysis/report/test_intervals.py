"""The confidence intervals of test metrics."""

import numpy as np
import polars as pl
import pytest
from scipy import special
from sklearn.metrics import roc_auc_score

from litnets.analysis.report.intervals import (
    auroc_interval,
    bootstrap,
    classification_intervals,
    forecast_intervals,
    regression_intervals,
    wilson,
)
from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions
from litnets.analysis.significance import bootstrap_mean
from litnets.runs.recorded_predictions import RecordedPredictions


def test_the_interval_of_a_mean_is_that_of_the_bootstrap_of_samples() -> None:
    values = np.random.default_rng(1).normal(size=300)
    interval = bootstrap(values[:, None], lambda sums, count: {"mean": sums[:, 0] / count})["mean"]
    assert interval == pytest.approx(bootstrap_mean(values), abs=0.01)


def test_samples_in_groups_have_an_interval_of_the_same_width() -> None:
    values = np.random.default_rng(1).normal(size=20_000)  # ten times as many as there are groups
    low, high = bootstrap(values[:, None], lambda sums, count: {"mean": sums[:, 0] / count})["mean"]
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(20_000), rel=0.1)


def test_samples_that_depend_on_each_other_are_resampled_together() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=100), 10)
    groups = np.arange(1000) // 10
    low, high = bootstrap(values[:, None], lambda sums, count: {"mean": sums[:, 0] / count}, groups)["mean"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.15)
    assert bootstrap(values[:5, None], lambda sums, count: {"mean": sums[:, 0] / count}, groups[:5]) == {}


def test_the_interval_of_auroc_is_around_the_mean_over_the_classes() -> None:
    generator = np.random.default_rng(2)
    targets = generator.integers(0, 3, 500)
    scores = special.softmax(generator.normal(size=(500, 3)) + 1.5 * np.eye(3)[targets], 1)
    low, high = auroc_interval(scores, targets[:, None] == np.arange(3))
    area = roc_auc_score(targets, scores, multi_class="ovr")
    assert (low + high) / 2 == pytest.approx(area)
    areas = []
    for _ in range(60):
        rows = generator.integers(0, 500, 500)
        areas.append(roc_auc_score(targets[rows], scores[rows], multi_class="ovr"))
    assert high - low == pytest.approx(2 * 1.96 * np.std(areas), rel=0.25)


def test_the_interval_of_auroc_of_one_class_is_undefined() -> None:
    assert np.isnan(auroc_interval(np.ones((3, 1)), np.ones((3, 1), bool))).all()


def test_wilson_is_that_of_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    assert wilson(3, 40) == pytest.approx(proportion.proportion_confint(3, 40, method="wilson"))


def test_every_metric_of_a_classifier_has_an_interval_around_its_value() -> None:
    generator = np.random.default_rng(0)
    names = ["a", "b", "c", "unused"]
    targets = generator.integers(0, 3, 400)
    logits = generator.normal(size=(400, 4)) + 2 * np.eye(4)[targets] - [0, 0, 0, 99]
    predictions = logits.argmax(1)
    frame = pl.DataFrame(
        {"index": range(400), "target": np.array(names)[targets], "prediction": np.array(names)[predictions]}
    )
    frame = frame.with_columns(**{f"logit_{name}": logits[:, i] for i, name in enumerate(names)}, loss=pl.lit(0.5))
    recorded = RecordedPredictions(frame, {"class_names": names, "multilabel": False})
    intervals = classification_intervals(ClassPredictions(recorded))
    low, high = intervals["accuracy"]
    assert low < (targets == predictions).mean() < high
    assert all(
        0.5 < low < high < 1 for low, high in (intervals[name] for name in ("f1", "precision", "recall", "auroc"))
    )
    assert intervals["loss"] == (0.5, 0.5)
    recorded.description["temperature"] = 5.0  # which the test metrics do not use
    assert classification_intervals(ClassPredictions(recorded)) == intervals


def test_every_metric_of_a_regression_has_an_interval_around_its_value() -> None:
    generator = np.random.default_rng(0)
    targets = generator.normal(50, 10, 300)
    predictions = targets + generator.normal(0, 5, 300)
    frame = pl.DataFrame({"index": range(300), "target": targets, "prediction": predictions})
    recorded = RecordedPredictions(frame, {"target_names": ["y"], "target_std": [10.0]})
    intervals = regression_intervals(ValuePredictions(recorded))
    error = predictions - targets
    values = {"mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean()), "r2": 1 - error.var() / targets.var()}
    for name, value in values.items():
        low, high = intervals[name]
        assert low < value < high
        assert high - low < 0.4 * value


def test_the_errors_of_a_forecast_are_standardized() -> None:
    targets, steps = np.zeros((60, 4)), 4
    predictions = np.full((60, 4), 6.0)
    predictions[:30] = 2.0
    frame = pl.DataFrame(
        {
            "index": np.repeat(np.arange(60), steps),
            "step": np.tile([1, 2, 3, 4], 60),
            "target": targets.ravel(),
            "prediction": predictions.ravel(),
        }
    )
    recorded = RecordedPredictions(frame, {"channel_names": ["y"], "channel_std": [2.0]})
    low, high = forecast_intervals(ValuePredictions(recorded))["mae"]
    assert 1 < low < 2 < high < 3
