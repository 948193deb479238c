"""Temperature scaling and split conformal prediction, against scikit-learn, MAPIE and worked examples."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import brier_score_loss, log_loss

from litnets.analysis.calibration import (
    MAX_TEMPERATURE,
    MIN_SAMPLES,
    coverage_quantile,
    expected_calibration_error,
    fit_temperature,
    prediction_sets,
    score_probabilities,
    set_scores,
)


def sample_classes(samples: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Return logits, and classes that are distributed as their softmax says."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (samples, classes))
    uniform = generator.random((samples, 1))
    return logits, (softmax(logits, axis=1).cumsum(1) < uniform).sum(1).clip(0, classes - 1)


def test_the_temperature_undoes_the_scale_of_the_logits() -> None:
    logits, targets = sample_classes(20_000, 4)
    exact = fit_temperature(logits, targets)
    assert exact == pytest.approx(1, abs=0.03)
    assert fit_temperature(3 * logits, targets) == pytest.approx(3 * exact, rel=1e-3)
    assert fit_temperature(logits / 7, targets) == pytest.approx(exact / 7, rel=1e-3)


def test_the_temperature_of_a_single_logit_and_of_several_labels() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 3))
    labels = (generator.random(logits.shape) < expit(logits)).astype(int)
    assert fit_temperature(2 * logits, labels, multilabel=True) == pytest.approx(2, rel=0.05)
    assert fit_temperature(5 * logits[:, :1], labels[:, 0]) == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([0, 1, 2, 0, 1], 1.0),  # no errors, so nothing tells how sure the network may be
        ([1, 2, 0, 1, 2], MAX_TEMPERATURE),  # nothing but errors
    ],
)
def test_the_temperature_is_bounded(targets: list[int], expected: float) -> None:
    logits = 4 * np.eye(3)[[0, 1, 2, 0, 1]]
    assert fit_temperature(logits, np.array(targets)) == pytest.approx(expected, rel=1e-3)


def test_a_single_sample_and_equal_logits_have_a_temperature() -> None:
    assert fit_temperature(np.array([[1.0, 2.0]]), np.array([1])) == 1
    assert fit_temperature(np.array([[0.5], [-0.5]]), np.array([1, 0])) == 1  # of two classes, and no errors
    assert fit_temperature(np.zeros((10, 3)), np.arange(10) % 3) == 1
    assert fit_temperature(np.array([[1.0, 2.0]]), np.array([0])) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


def test_the_scores_are_those_of_scikit_learn() -> None:
    logits, targets = sample_classes(500, 4)
    scores = score_probabilities(logits, targets, temperature=1.7)
    probabilities = softmax(logits / 1.7, axis=1)
    assert scores["nll"] == pytest.approx(log_loss(targets, probabilities))
    assert scores["brier"] == pytest.approx(brier_score_loss(targets, probabilities))
    single = logits[:, :1]
    scores = score_probabilities(single, targets % 2)
    assert scores["nll"] == pytest.approx(log_loss(targets % 2, expit(single[:, 0])))
    assert scores["brier"] == pytest.approx(brier_score_loss(targets % 2, expit(single[:, 0])))
    labels = np.eye(4, dtype=int)[targets]
    scores = score_probabilities(logits, labels, multilabel=True)
    each = [(labels[:, i], expit(logits[:, i])) for i in range(4)]
    assert scores["nll"] == pytest.approx(np.mean([log_loss(*one) for one in each]))
    assert scores["brier"] == pytest.approx(np.mean([brier_score_loss(*one) for one in each]))
    # Both predictions have the probability 0.9, and one of them is right.
    scores = score_probabilities(logit(np.array([[0.1, 0.9]])), np.array([[0, 0]]), multilabel=True)
    assert scores["ece"] == pytest.approx(0.9 - 0.5)


def test_the_calibration_error_equals_a_worked_example() -> None:
    confidences = np.array([0.61, 0.65, 0.95, 0.96, 0.97, 1.0])  # bins of a fifteenth: 0.6 to 0.667, 0.933 to 1
    outcomes = np.array([True, False, True, True, True, False])
    expected = 2 / 6 * abs(0.63 - 1 / 2) + 4 / 6 * abs(0.97 - 3 / 4)
    assert expected_calibration_error(confidences, outcomes) == pytest.approx(expected)


def test_fewer_samples_than_the_coverage_needs_have_no_quantile() -> None:
    assert coverage_quantile(np.arange(MIN_SAMPLES - 1.0)) is None
    assert coverage_quantile(np.arange(float(MIN_SAMPLES))) == 8  # the largest error
    assert coverage_quantile(np.arange(19.0)) == 17  # the 18th of 19
    assert coverage_quantile(np.zeros((0, 3))) is None


class Prefitted(BaseEstimator):
    """An estimator for MAPIE whose inputs are its outputs."""

    is_fitted = True

    def fit(self, x: Any, y: Any) -> "Prefitted":
        return self


class Softmax(ClassifierMixin, Prefitted):
    classes_ = np.arange(4)

    def predict_proba(self, x: Any) -> Any:
        return softmax(x, axis=1)

    def predict(self, x: Any) -> Any:
        return x.argmax(1)


class Identity(RegressorMixin, Prefitted):
    def predict(self, x: Any) -> Any:
        return x[:, 0]


@pytest.mark.parametrize("samples", [10, 57, 200])
def test_the_sets_are_those_of_mapie(samples: int) -> None:
    mapie = pytest.importorskip("mapie.classification")
    logits, targets = sample_classes(samples + 300, 4)
    conformal = mapie.SplitConformalClassifier(Softmax(), confidence_level=0.9, conformity_score="lac")
    conformal.conformalize(logits[300:], targets[300:])
    predicted, sets = conformal.predict_set(logits[:300])
    expected = sets[:, :, 0]
    expected[np.arange(300), predicted] = True  # MAPIE returns empty sets
    probabilities = softmax(logits, axis=1)
    quantile = coverage_quantile(set_scores(probabilities[300:], targets[300:]))
    assert quantile is not None
    np.testing.assert_array_equal(prediction_sets(probabilities[:300], 1 - float(quantile)), expected)


def test_the_intervals_are_those_of_mapie() -> None:
    mapie = pytest.importorskip("mapie.regression")
    outputs, targets = np.random.default_rng(0).normal(size=(2, 157, 1))
    conformal = mapie.SplitConformalRegressor(Identity(), confidence_level=0.9)
    conformal.conformalize(outputs[100:], targets[100:, 0])
    _, intervals = conformal.predict_interval(outputs[:100])
    half_width = coverage_quantile(np.abs(outputs - targets)[100:])
    np.testing.assert_allclose(intervals[:, :, 0], np.hstack([outputs - half_width, outputs + half_width])[:100])


def test_a_set_of_labels_includes_all_labels_of_nine_samples_in_ten() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4000, 5))
    labels = (generator.random(logits.shape) < expit(logits)).astype(int)
    probabilities = expit(logits)
    quantile = coverage_quantile(set_scores(probabilities[:2000], labels[:2000], multilabel=True))
    assert quantile is not None
    sets = prediction_sets(probabilities[2000:], 1 - float(quantile), multilabel=True)
    assert (sets | (labels[2000:] == 0)).all(1).mean() == pytest.approx(0.9, abs=0.02)
    assert set_scores(np.array([[0.2, 0.9]]), np.array([[0, 0]]), multilabel=True) == 0


def test_a_set_always_includes_the_prediction() -> None:
    probabilities = np.array([[0.4, 0.35, 0.25], [0.1, 0.0, 0.9]])
    assert prediction_sets(probabilities, 0.95).tolist() == [[True, False, False], [False, False, True]]
    assert prediction_sets(probabilities, 0.3).tolist() == [[True, True, False], [False, False, True]]
    labels = expit(np.array([[logit(0.6), logit(0.4)]]))
    assert prediction_sets(labels, 0.95, multilabel=True).tolist() == [[True, False]]
