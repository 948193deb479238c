"""Curves and tables of classification results, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from litnets.analysis.report.scores import label_suspects, ranking_curves, reliability, thresholds


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    positive = generator.random(400) < 0.3
    return (generator.random(400) * 0.7 + 0.3 * positive).round(2), positive  # with ties


def test_areas_under_the_curves(scores: tuple[np.ndarray, np.ndarray]) -> None:
    probability, positive = scores
    curves = ranking_curves(probability, positive)
    assert curves is not None
    assert curves.auroc == pytest.approx(roc_auc_score(positive, probability))
    assert curves.average_precision == pytest.approx(average_precision_score(positive, probability))
    assert (curves.false_positive_rate[[0, -1]] == [0, 1]).all()
    assert (curves.recall[[0, -1]] == [0, 1]).all()


def test_one_class_has_no_curve() -> None:
    assert ranking_curves(np.ones(3), np.ones(3, bool)) is None


def test_thresholds(scores: tuple[np.ndarray, np.ndarray]) -> None:
    probability, positive = scores
    row = thresholds(probability, positive)[4]
    predicted = probability >= 0.5
    assert row.threshold == 0.5
    assert row.precision == pytest.approx(precision_score(positive, predicted))
    assert row.recall == pytest.approx(recall_score(positive, predicted))
    assert row.f1 == pytest.approx(f1_score(positive, predicted))
    assert row.false_positive_rate == pytest.approx(predicted[~positive].mean())


def test_reliability_groups_by_confidence() -> None:
    result = reliability(np.array([0.62, 0.64, 0.9, 1.0]), np.array([True, False, True, True]))
    assert result.count.tolist() == [2, 1, 1]
    assert result.accuracy.tolist() == [0.5, 1, 1]
    assert result.ece == pytest.approx((2 * 0.13 + 0.1) / 4)


def test_a_sample_is_suspicious_if_another_class_is_as_sure_as_of_its_own_samples() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.05, 0.95], [0.45, 0.55]])
    targets = np.array([0, 0, 1, 1, 0, 0])
    # The mean of class 1 over its samples is 0.85: sample 4 reaches it, sample 5 does not.
    suspects, classes = label_suspects(probabilities, targets)
    assert (suspects.tolist(), classes.tolist()) == ([4], [1])


def test_the_suspected_class_need_not_be_the_most_probable_one() -> None:
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.65, 0.35], [0.6, 0.4]])
    suspects, classes = label_suspects(probabilities, np.array([0, 0, 0, 1, 1, 1]))
    assert (suspects.tolist(), classes.tolist()) == ([2], [1])
