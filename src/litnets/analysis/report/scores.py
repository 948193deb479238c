"""Curves and tables of classification results, from probabilities and targets."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.calibration import BINS, expected_calibration_error

_POINTS = 150  # per curve; more are not visible


class RankingCurves(NamedTuple):
    """The ROC and precision-recall curves of one class, each `(points,)`, and the area under each."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    auroc: float
    average_precision: float


def ranking_curves(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> RankingCurves | None:
    """Return the curves of one class against the rest; None if one of the two has no samples.

    Args:
        scores: Probability of the class for each sample, `(N,)`.
        positive: Whether each sample belongs to the class, `(N,)`.
    """
    positives = int(positive.sum())
    if not 0 < positives < len(positive):
        return None
    order = np.argsort(-scores, kind="stable")
    is_last = np.append(np.diff(scores[order]) != 0, True)  # samples with equal scores move together
    hits = np.cumsum(positive[order])[is_last]
    false = np.cumsum(~positive[order])[is_last]
    x, y = np.append(0, false / (len(positive) - positives)), np.append(0, hits / positives)
    recall, precision = np.append(0, hits / positives), np.append(1, hits / (hits + false))
    auroc = float(np.trapezoid(y, x))
    average = float((np.diff(recall) * precision[1:]).sum())
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    return RankingCurves(x[keep], y[keep], recall[keep], precision[keep], auroc, average)


@dataclass(frozen=True)
class Reliability:
    """How often predictions are right, by their confidence.

    Args:
        confidence: Mean confidence of each bin with samples, `(bins,)`.
        accuracy: Fraction of right predictions in each of them, `(bins,)`.
        count: Samples in each of them, `(bins,)`.
        ece: The expected calibration error.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    ece: float


def reliability(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> Reliability:
    """Group predictions by their confidence, into bins of equal width (Guo et al. 2017).

    Args:
        confidence: Probability of the prediction, `(N,)`.
        is_right: Whether the prediction is right, `(N,)`.
    """
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(index, minlength=BINS)
    used = count > 0
    mean = np.bincount(index, confidence, BINS)[used] / count[used]
    accuracy = np.bincount(index, is_right, BINS)[used] / count[used]
    return Reliability(mean, accuracy, count[used], expected_calibration_error(confidence, is_right))


class Threshold(NamedTuple):
    """The results of predicting the positive class from a threshold of its probability upwards."""

    threshold: float
    precision: float
    recall: float
    false_positive_rate: float
    f1: float
    accuracy: float


def thresholds(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> list[Threshold]:
    """Return the results of the thresholds 0.1 to 0.9."""
    rows = []
    for threshold in np.arange(1, 10) / 10:
        predicted = probability >= threshold
        hits, guesses, actual = int((predicted & positive).sum()), int(predicted.sum()), int(positive.sum())
        precision = hits / guesses if guesses else 0.0
        recall = hits / actual if actual else 0.0
        false = (guesses - hits) / max(len(positive) - actual, 1)
        f1 = 2 * hits / (guesses + actual) if guesses + actual else 0.0
        accuracy = float((predicted == positive).mean())
        rows.append(Threshold(float(threshold), precision, recall, false, f1, accuracy))
    return rows


def label_suspects(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples whose label may be wrong, the most suspicious first (confident learning; Northcutt 2021), and
    the class that each of them may belong to.

    A class is a candidate for a sample if its probability is at least its mean probability over the samples that are
    labeled with it. A sample is suspicious if the most probable of its candidates is not its label.

    Args:
        probabilities: `(N, classes)`.
        targets: The label of each sample, `(N,)`.
    """
    classes = probabilities.shape[1]
    mean_probability = np.full(classes, np.inf)
    for label in np.unique(targets):
        mean_probability[label] = probabilities[targets == label, label].mean()
    is_candidate = probabilities >= mean_probability
    best = np.where(is_candidate, probabilities, -1).argmax(1)
    rows = np.flatnonzero(is_candidate.any(1) & (best != targets))
    margin = probabilities[rows, targets[rows]] - probabilities[rows, best[rows]]
    order = rows[np.argsort(margin, kind="stable")]
    return order, best[order]
