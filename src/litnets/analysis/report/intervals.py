"""95% confidence intervals of test metrics, from the recorded predictions.

The metrics that are functions of sums over the samples (accuracy, F1, R2, RMSE, ...) are resampled by the bootstrap
(Efron 1979) with a fixed seed. A resample is a vector of counts, so one matrix product computes the sums of all
resamples. AUROC has an interval by DeLong et al. (1988) instead. The windows of a forecast overlap, so blocks of them
are resampled.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions
from litnets.analysis.significance import LEVEL

RESAMPLES = 1000
_MAX_GROUPS = 2000  # more samples than this are resampled in this many groups of about equal size

Interval = tuple[float, float]
Metrics = Mapping[str, NDArray[Any]]


def classification_intervals(predictions: ClassPredictions) -> dict[str, Interval]:
    """Return the intervals of the test metrics of a classifier, by name."""
    size = len(predictions.names)
    target, predicted = predictions.one_hot, predictions.predicted_one_hot  # booleans, as there may be many classes
    hit = target & predicted
    correct = (predictions.predictions == predictions.targets).reshape(len(hit), -1)  # one column, or one per label

    def metrics(sums: NDArray[np.float64], count: NDArray[np.float64]) -> Metrics:
        correct, (hits, targets, guesses) = sums[:, : -3 * size], np.split(sums[:, -3 * size :], 3, axis=1)
        scores = {
            "precision": _ratio(hits, guesses),
            "recall": _ratio(hits, targets),
            "f1": _ratio(2 * hits, targets + guesses),
        }
        counted = np.ones_like(hits) if predictions.is_multilabel else (targets + guesses > 0).astype(float)
        averaged = {name: (score * counted).sum(1) / counted.sum(1) for name, score in scores.items()}
        return {"accuracy": correct.mean(1) / count, **averaged}

    intervals = bootstrap(np.concatenate([correct, hit, target, predicted], 1), metrics) | _loss_interval(
        predictions.recorded.frame
    )
    if predictions.uncalibrated is not None:
        intervals["auroc"] = auroc_interval(predictions.uncalibrated, predictions.one_hot)
    return intervals


def regression_intervals(values: ValuePredictions) -> dict[str, Interval]:
    """Return the intervals of the test metrics of a regression, by name."""
    errors, size = values.errors[:, 0], len(values.names)
    scaled = (values.targets[:, 0] - values.targets[:, 0].mean(0)) / values.std

    def metrics(sums: NDArray[np.float64], count: NDArray[np.float64]) -> Metrics:
        absolute, squared, target, target_squared = np.split(sums / count[:, None], 4, axis=1)
        variance = target_squared - target**2
        return {
            "mae": (absolute * values.std).mean(1),
            "rmse": (np.sqrt(squared) * values.std).mean(1),
            "r2": np.where(variance > 0, 1 - squared / np.where(variance > 0, variance, 1), 0).mean(1),
        }

    columns = np.concatenate([np.abs(errors), errors**2, scaled, scaled**2], 1)
    assert columns.shape[1] == 4 * size
    return bootstrap(columns, metrics) | _loss_interval(values.recorded.frame)


def forecast_intervals(values: ValuePredictions) -> dict[str, Interval]:
    """Return the intervals of the test metrics of a forecast, by name. Blocks of `horizon` windows are resampled."""
    errors = values.errors
    columns = np.stack([(errors**2).mean((1, 2)), np.abs(errors).mean((1, 2))], 1)

    def metrics(sums: NDArray[np.float64], count: NDArray[np.float64]) -> Metrics:
        return {"mse": sums[:, 0] / count, "mae": sums[:, 1] / count}

    return bootstrap(columns, metrics, np.arange(len(columns)) // values.steps)


def bootstrap(
    columns: NDArray[Any],
    metrics: Callable[[NDArray[np.float64], NDArray[np.float64]], Metrics],
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Interval]:
    """Return the percentile bootstrap interval of metrics that are functions of sums over the samples.

    Args:
        columns: The numbers of each sample whose sums the metrics need, `(N, k)`.
        metrics: Returns metrics `(resamples,)` by name, from sums `(resamples, k)` and counts `(resamples,)`.
        groups: The group of each sample, `(N,)`, if samples depend on each other; groups are resampled.

    Returns:
        The intervals by name; empty if there are fewer than two groups.
    """
    generator = np.random.default_rng(0)
    if groups is None:
        count = min(len(columns), _MAX_GROUPS)
        groups = generator.permutation(len(columns)) % max(count, 1)
    size = int(groups.max()) + 1 if len(groups) else 0
    if size < 2:
        return {}
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(size))
    sums = np.concatenate([np.add.reduceat(columns[order], starts, dtype=float), np.bincount(groups)[:, None]], 1)
    counts = generator.multinomial(size, np.full(size, 1 / size), RESAMPLES)
    resampled = counts.astype(float) @ sums
    values = metrics(resampled[:, :-1], resampled[:, -1])
    limits = {name: np.quantile(value, [LEVEL / 2, 1 - LEVEL / 2]) for name, value in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def auroc_interval(scores: NDArray[np.float64], one_hot: NDArray[np.bool_]) -> Interval:
    """Return DeLong's interval of the mean AUROC over the classes with positive and negative samples.

    Args:
        scores: `(N, classes)`.
        one_hot: Whether each sample belongs to each class, `(N, classes)`.
    """
    count = len(scores)
    areas, influence = [], np.zeros(count)
    for score, positive in zip(scores.T, one_hot.T, strict=True):
        positives = int(positive.sum())
        if not 0 < positives < count:
            continue
        _, group = np.unique(score, return_inverse=True)  # samples with equal scores
        hits = np.bincount(group, positive)
        misses = np.bincount(group, ~positive)
        # The fraction of samples of the other kind that are ordered as they should be; equal scores count half.
        below, above = np.cumsum(misses) - misses / 2, positives - np.cumsum(hits) + hits / 2
        placement = np.where(positive, below[group] / (count - positives), above[group] / positives)
        area = float(placement[positive].mean())
        areas.append(area)
        influence += (placement - area) * np.where(positive, count / positives, count / (count - positives))
    if not areas:
        return np.nan, np.nan
    area = float(np.mean(areas))
    error = float(influence.std() / len(areas) / np.sqrt(count))
    width = float(stats.norm.isf(LEVEL / 2)) * error
    return max(area - width, 0.0), min(area + width, 1.0)


def wilson(successes: int, count: int) -> Interval:
    """Return the interval of a fraction by Wilson (1927), which also holds for small counts."""
    interval = stats.binomtest(successes, count).proportion_ci(1 - LEVEL, "wilson")
    return float(interval.low), float(interval.high)


def _loss_interval(frame: Any) -> dict[str, Interval]:
    if "loss" not in frame.columns:
        return {}
    loss = frame["loss"].to_numpy().astype(float)
    weight = frame["loss_weight"].to_numpy().astype(float) if "loss_weight" in frame.columns else np.ones(len(loss))
    if not np.isfinite(loss).all():
        return {}
    return bootstrap(np.stack([loss * weight, weight], 1), lambda sums, count: {"loss": _ratio(sums[:, 0], sums[:, 1])})


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), 0.0)
