"""Calibration: probabilities that match frequencies, and predictions with a guaranteed coverage.

`fit_temperature` scales the logits of a classifier (Guo et al. 2017), which changes neither its predictions nor its
accuracy. `coverage_quantile` is the core of split conformal prediction (Vovk et al. 2005): at least 90% of new
samples are no worse than this quantile of the validation samples. This holds for every network, if all samples come
from the same distribution.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from litnets.runs.recorded_predictions import to_probabilities

Array = NDArray[np.float64]

COVERAGE_PERCENT = 90
MIN_SAMPLES = 9  # for this coverage; see coverage_quantile
MAX_TEMPERATURE = 100.0  # and 1 / MAX_TEMPERATURE is the lowest one
BINS = 15  # of the expected calibration error, as in Guo et al. (2017)


def fit_temperature(logits: Array, targets: NDArray[np.int64], multilabel: bool = False) -> float:
    """Return the temperature that minimizes the negative log-likelihood of the targets.

    Without a single wrong prediction, the lowest temperature would always be the best. The result is then 1, because
    the samples do not tell how sure the network may be.

    Args:
        logits: A logit per class or label, `(N, k)`; or, of two classes, only that of the second one, `(N, 1)`.
        targets: Classes, `(N,)`; or 0 or 1 for each label, `(N, k)`.
        multilabel: Whether a sample may have several labels.
    """
    if not _has_errors(logits, targets, multilabel):
        return 1.0

    def loss(log_temperature: float) -> float:
        return _negative_log_likelihood(logits / np.exp(log_temperature), targets, multilabel)

    bound = np.log(MAX_TEMPERATURE)  # which the search approaches, but does not reach
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def score_probabilities(
    logits: Array, targets: NDArray[np.int64], multilabel: bool = False, temperature: float = 1.0
) -> dict[str, float]:
    """Return the negative log-likelihood, the Brier score and the expected calibration error.

    The Brier score is that of scikit-learn: over two classes it is the squared error of one probability, over several
    classes the sum of the squared errors of all. With several labels, the scores are means over the labels.

    Args:
        logits: A logit per class or label, `(N, k)`; or, of two classes, only that of the second one, `(N, 1)`.
        targets: Classes, `(N,)`; or 0 or 1 for each label, `(N, k)`.
        multilabel: Whether a sample may have several labels.
        temperature: Divides the logits.
    """
    probabilities = to_probabilities(logits, multilabel, temperature)
    if multilabel:
        brier = np.square(probabilities - targets).mean()
        is_right = (probabilities > 0.5) == (targets == 1)
        ece = expected_calibration_error(np.maximum(probabilities, 1 - probabilities).ravel(), is_right.ravel())
    else:
        squares = np.square(probabilities - np.eye(probabilities.shape[1])[targets]).sum(1)
        brier = squares.mean() / (2 if probabilities.shape[1] == 2 else 1)
        ece = expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == targets)
    nll = _negative_log_likelihood(logits / temperature, targets, multilabel)
    return {"nll": nll, "brier": float(brier), "ece": ece}


def expected_calibration_error(confidences: Array, outcomes: NDArray[np.bool_]) -> float:
    """Return the mean difference between confidence and frequency, over bins of equal width (Naeini et al. 2015).

    Args:
        confidences: Probability of each event, such as that the prediction is correct, `(N,)`.
        outcomes: Whether each event has occurred, `(N,)`.
    """
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidences - outcomes, BINS)
    return float(np.abs(gaps).sum() / len(confidences))


def coverage_quantile(scores: Array) -> Array | None:
    """Return the quantile that the score of a new sample does not exceed with a probability of 90%.

    Args:
        scores: A score of each validation sample, `(N, ...)`, such as the size of its error.

    Returns:
        The quantile of each score of a sample, `(...)`; None if there are too few samples.
    """
    rank = -(-(len(scores) + 1) * COVERAGE_PERCENT // 100)  # rounded up; an integer, because 0.9 is not exact
    return None if rank > len(scores) else np.asarray(np.sort(scores, axis=0)[rank - 1])


def set_scores(probabilities: Array, targets: NDArray[np.int64], multilabel: bool = False) -> Array:
    """Return 1 - the probability of the class of each sample, or of its least probable label, `(N,)`.

    This is the score of least ambiguous sets (Sadinle et al. 2019). A sample without labels scores 0, because every
    set includes its labels.

    Args:
        probabilities: Probability of each class or label, `(N, k)`.
        targets: Classes, `(N,)`; or 0 or 1 for each label, `(N, k)`.
        multilabel: Whether a sample may have several labels.
    """
    if multilabel:
        return np.asarray(((1 - probabilities) * targets).max(1))
    return np.asarray(1 - probabilities[np.arange(len(targets)), targets])


def prediction_sets(probabilities: Array, threshold: float, multilabel: bool = False) -> NDArray[np.bool_]:
    """Return whether the prediction set of each sample includes each class or label, `(N, k)`.

    A set includes the classes that are at least as probable as `threshold`, and always the predicted ones.
    """
    if multilabel:
        return (probabilities >= threshold) | (probabilities > 0.5)
    sets = probabilities >= threshold
    sets[np.arange(len(sets)), probabilities.argmax(1)] = True
    return sets


def _negative_log_likelihood(logits: Array, targets: NDArray[np.int64], multilabel: bool) -> float:
    """Return the mean negative log-likelihood over the samples, or over the samples and labels."""
    if multilabel or logits.shape[1] == 1:
        return float(-log_expit(np.where(targets.reshape(logits.shape) == 1, logits, -logits)).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(targets)), targets].mean())


def _has_errors(logits: Array, targets: NDArray[np.int64], multilabel: bool) -> bool:
    if multilabel or logits.shape[1] == 1:
        return bool(((logits > 0) != (targets.reshape(logits.shape) == 1)).any())
    return bool((logits.argmax(1) != targets).any())
