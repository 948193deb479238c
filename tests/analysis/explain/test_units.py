import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from litnets.analysis.explain.checks import randomize
from litnets.analysis.explain.units import area_under_roc, dissect
from litnets.nets import MLP


def test_area_under_roc_equals_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 5, (60, 3)).astype(float)  # with ties
    positive = random.random(60) < 0.3
    expected = [roc_auc_score(positive, column) for column in scores.T]
    assert area_under_roc(scores, positive).tolist() == pytest.approx(expected)


def test_the_unit_that_answers_to_a_class_is_found() -> None:
    net = MLP(3, 3, (6,))
    hidden = net.layers[1]
    assert isinstance(hidden, nn.Linear)
    hidden.weight.data.zero_()
    hidden.bias.data.zero_()
    for unit, feature in ((4, 0), (2, 1), (5, 2)):
        hidden.weight.data[unit, feature] = 1
    classes = torch.arange(90) % 3
    rows = nn.functional.one_hot(classes, 3) + 0.3 * torch.rand(90, 3)
    targets = nn.functional.one_hot(classes, 3)
    found = dissect(net, randomize(net, 0), "layers.3", lambda: [(part,) for part in rows.split(40)], targets)
    assert [(unit.class_index, unit.index, unit.auc) for unit in found] == [(0, 4, 1), (1, 2, 1), (2, 5, 1)]
    for unit in found:
        assert unit.exciting[0] == int(rows[:, unit.class_index].argmax())
        assert set(classes[unit.exciting].tolist()) == {unit.class_index}


def test_an_untrained_network_does_not_pass() -> None:
    net = MLP(3, 2, (4,))
    rows = torch.randn(80, 3)
    targets = nn.functional.one_hot((rows[:, 0] > 0).long(), 2)
    units = dissect(net, net, "layers.3", lambda: [(rows,)], targets)
    assert [unit.passed for unit in units] == [False, False]


def test_a_class_without_samples_is_left_out() -> None:
    net = MLP(3, 3, (4,))
    rows = torch.randn(40, 3)
    targets = nn.functional.one_hot((rows[:, 0] > 0).long(), 3)
    assert [unit.class_index for unit in dissect(net, net, "layers.3", lambda: [(rows,)], targets)] == [0, 1]
