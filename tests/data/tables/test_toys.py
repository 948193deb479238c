import numpy as np
import torch
from sklearn.datasets import make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from litnets.data import XOR, Moons, Spirals


def test_xor_labels_noise_and_nonlinearity() -> None:
    table = XOR(samples=40, noise=0).table
    x, y = table.inputs.bool().T
    assert torch.equal(table.targets.bool(), x ^ y)
    assert table.inputs.unique(dim=0, return_counts=True)[1].tolist() == [10] * 4
    noisy = XOR(samples=4000, noise=0.1).table
    np.testing.assert_allclose((noisy.inputs - noisy.inputs.round()).std(), 0.1, rtol=0.05)
    assert LogisticRegression().fit(noisy.inputs, noisy.targets).score(noisy.inputs, noisy.targets) < 0.6


def test_moons_equal_scikit_learn() -> None:
    table = Moons(samples=50, noise=0.2).table
    points, classes = make_moons(50, noise=0.2, random_state=0)
    np.testing.assert_allclose(table.inputs, points, rtol=1e-6)
    np.testing.assert_array_equal(table.targets, classes)


def test_spirals_follow_their_formula_and_are_not_linearly_separable() -> None:
    table = Spirals(samples=3000, arms=3, turns=1.5, noise=0).table
    assert table.targets.bincount().tolist() == [1000] * 3
    assert table.class_names == ["0", "1", "2"]
    x, y = table.inputs.double().numpy().T
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    difference = angle - 2 * np.pi * (1.5 * radius + table.targets.numpy() / 3)  # a multiple of full turns
    np.testing.assert_allclose(np.exp(1j * difference), 1, atol=1e-4)
    assert 0.99 < radius.max() <= 1.0001
    assert LogisticRegression().fit(table.inputs, table.targets).score(table.inputs, table.targets) < 0.6
    neighbors = KNeighborsClassifier(3).fit(table.inputs[::2], table.targets[::2])
    assert neighbors.score(table.inputs[1::2], table.targets[1::2]) > 0.98


def test_points_do_not_depend_on_the_global_seed() -> None:
    for cls in (XOR, Moons, Spirals):
        first = cls().table
        torch.manual_seed(5)
        assert torch.equal(cls().table.inputs, first.inputs)
