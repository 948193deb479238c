from typing import Any

import numpy as np
import pytest
import torch
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from litnets.analysis.explain.permutation import build_score, permutation_importance
from litnets.tasks import Classifier, Regressor

WEIGHTS = torch.tensor([3.0, 1.0, 0.0, -2.0])
COLUMNS = {name: [index] for index, name in enumerate("abcd")}


def linear_data(size: int = 200) -> tuple[Tensor, Tensor]:
    rows = torch.randn(size, 4)
    return rows, (rows @ WEIGHTS + 0.5 * torch.randn(size)).unsqueeze(1)


def predict(rows: Tensor) -> Tensor:
    return (rows @ WEIGHTS).unsqueeze(1)


def negative_mse(outputs: Tensor, targets: Tensor) -> float:
    return -float((outputs - targets).square().mean())


def test_importance_equals_that_of_scikit_learn() -> None:
    rows, targets = linear_data()
    model = LinearRegression(fit_intercept=False).fit(rows.numpy(), targets.numpy())
    model.coef_ = WEIGHTS.numpy()[None]
    seed = np.random.RandomState(7).randint(np.iinfo(np.int32).max + 1)  # as scikit-learn seeds each column
    scoring: Any = "neg_mean_squared_error"
    expected = sklearn_importance(model, rows.numpy(), targets.numpy(), n_repeats=5, random_state=7, scoring=scoring)
    found = permutation_importance(predict, negative_mse, rows, targets, COLUMNS, repeats=5, seed=seed)
    assert [importance.mean for importance in found] == pytest.approx(expected.importances_mean.tolist(), rel=1e-4)


def test_intervals_contain_the_importance_and_tell_which_columns_count() -> None:
    rows, targets = linear_data(1000)
    found = permutation_importance(predict, negative_mse, rows, targets, COLUMNS)
    assert [importance.is_significant for importance in found] == [True, True, False, True]
    for importance, weight in zip(found, WEIGHTS.tolist(), strict=True):
        assert importance.low <= 2 * weight**2 <= importance.high  # E (x - x')^2 = 2


def test_the_parts_of_a_column_are_shuffled_together() -> None:
    rows = torch.arange(200.0).unsqueeze(1).repeat(1, 2)

    def difference(rows: Tensor) -> Tensor:  # 0 unless one of the two parts is shuffled without the other
        return rows[:, :1] - rows[:, 1:]

    (found,) = permutation_importance(difference, negative_mse, rows, torch.zeros(200, 1), {"date": [0, 1]})
    assert (found.column, found.mean) == ("date", 0)
    alone = permutation_importance(difference, negative_mse, rows, torch.zeros(200, 1), {"a": [0], "b": [1]})
    assert all(one.mean > 1 for one in alone)


def test_the_monitored_metric_scores() -> None:
    classifier = Classifier(nn.Identity(), num_classes=2)
    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1, 1])
    score, name = build_score(classifier, "val/accuracy")
    assert (name, score(logits, targets)) == ("accuracy", pytest.approx(2 / 3))
    assert score(logits[:2], targets[:2]) == 1  # nothing is left from the call before
    assert build_score(classifier, "val/auroc")[0](logits, targets) == pytest.approx(0.75)  # one tie
    loss, name = build_score(classifier, "val/loss")
    assert (name, loss(logits, targets)) == ("loss", pytest.approx(-float(classifier.loss(logits, targets))))
    assert build_score(classifier, "val/unknown")[1] == "accuracy"


def test_metrics_where_lower_is_better_are_negated() -> None:
    regressor = Regressor(nn.Identity(), num_targets=1, target_mean=[1.0], target_std=[2.0])
    score, _ = build_score(regressor, "val/rmse")
    outputs = torch.tensor([[0.0], [1.0]])
    assert score(outputs, torch.tensor([[1.0], [6.0]])) == pytest.approx(-(4.5**0.5))
