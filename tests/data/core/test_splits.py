import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit
from torch import Tensor

from litnets.data.core.splits import SplitSpec, expanding_window_split, split_indices
from litnets.errors import InputError

# Number of samples per class: balanced, imbalanced, many classes, one rare, several rare, a single class.
COUNTS = {
    "even": [18] * 10,
    "uneven": [174, 183, 177, 12, 50],
    "42 classes": [37] * 42,
    "growing": list(range(1, 31)),
    "one sample": [300, 1],
    "rare": [1000, 10, 3, 1],
    "one class": [30],
}


def labels_of(counts: list[int]) -> Tensor:
    """Return labels sorted by class, the worst case for a split without stratification."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def assert_partition(parts: tuple[Tensor, ...], size: int) -> None:
    assert sorted(torch.cat(parts).tolist()) == list(range(size))


def assert_stratified(part: Tensor, labels: Tensor, tolerance: float = 2.1) -> None:
    """Each class has its expected number of samples, up to rounding, which adds up if many classes are small."""
    counts = labels.bincount()
    expected = counts * len(part) / len(labels)
    assert (labels[part].bincount(minlength=len(counts)) - expected).abs().max() <= tolerance


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("val_size", "test_size"), [(0.2, 0.2), (0.1, 0), (0, 0.3), (0, 0), (7, 5), (0.25, 4)])
def test_splits_are_complete_disjoint_stratified_and_of_the_requested_sizes(
    counts: list[int], seed: int, val_size: float, test_size: float
) -> None:
    labels = labels_of(counts)
    size = len(labels)
    train, val, test = split_indices(labels, size, SplitSpec(val_size, test_size, seed))
    assert_partition((train, val, test), size)
    assert len(val) == (val_size if val_size >= 1 else round(val_size * size))
    assert len(test) == (test_size if test_size >= 1 else round(test_size * size))
    for part in (train, val, test):
        assert_stratified(part, labels)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("num_folds", [2, 3, 7])
def test_classes_are_nearly_in_proportion_in_each_fold(counts: list[int], num_folds: int) -> None:
    labels = labels_of(counts)
    fractions = torch.tensor(counts, dtype=torch.double) / len(labels)
    for fold in range(num_folds):
        _, fold_samples, _ = split_indices(labels, len(labels), SplitSpec(0, 0, 1, num_folds, fold))
        held_out = labels[fold_samples].bincount(minlength=len(counts))
        deviation = (held_out - fractions * len(fold_samples)).abs()
        assert (deviation <= 1 + fractions * len(counts) + 1e-9).all()


def test_the_split_is_a_function_of_its_seed() -> None:
    labels = labels_of([20] * 5)
    first, again, other = (split_indices(labels, 100, SplitSpec(0.2, 0.2, seed)) for seed in (0, 0, 1))
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(set(a.tolist()) == set(b.tolist()) for a, b in zip(first, other, strict=True))


def test_samples_of_a_class_are_split_at_random() -> None:
    _, val, _ = split_indices(labels_of([100, 100]), 200, SplitSpec(100))
    assert 15 < (val % 100 < 50).sum() / 2 < 35  # about half are from the first half of their class


def test_without_labels_the_split_is_random_and_complete() -> None:
    train, val, test = split_indices(None, 50, SplitSpec(10, 0.1))
    assert_partition((train, val, test), 50)
    assert (len(val), len(test)) == (10, 5)
    assert val.tolist() != sorted(val.tolist())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_can_have_any_integer_dtype_and_values(dtype: torch.dtype) -> None:
    labels = (labels_of([10, 20, 30]) * 50 + 3).to(dtype)
    train, val, test = split_indices(labels, 60, SplitSpec(0.2, 0.2))
    assert_partition((train, val, test), 60)
    assert sorted(labels[val].tolist()) == [3] * 2 + [53] * 4 + [103] * 6


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("num_folds", [2, 3, 7, 10])
@pytest.mark.parametrize("test_size", [0, 0.2], ids=["held out as val", "held out as test"])
def test_folds_partition_the_data(counts: list[int], num_folds: int, test_size: float) -> None:
    labels = labels_of(counts)
    size = len(labels)
    splits = [split_indices(labels, size, SplitSpec(0.1, test_size, 0, num_folds, fold)) for fold in range(num_folds)]
    held_out = [test if test_size else val for _, val, test in splits]
    assert_partition(tuple(held_out), size)
    assert max(map(len, held_out)) - min(map(len, held_out)) <= 1
    for train, val, test in splits:
        assert_partition((train, val, test), size)
        assert len(test) == 0 or len(val) == round(0.1 * size)
        assert len(test) > 0 or test_size == 0
    for part in held_out:
        assert_stratified(part, labels)


@pytest.mark.parametrize(
    ("val_size", "test_size"),
    # 1.0 is one sample, not all of them.
    [(19, 1.0), (1.0, 19), (0.5, 0.5), (20, 0), (0, 20), (0.9, 2), (1e30, 0)],
)
def test_sizes_that_leave_nothing_for_training_are_refused(val_size: float, test_size: float) -> None:
    with pytest.raises(InputError, match=r"val_size, test_size: .* leave none for training"):
        split_indices(None, 20, SplitSpec(val_size, test_size))


@pytest.mark.parametrize("value", [-0.1, -1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["val_size", "test_size"])
def test_sizes_that_are_neither_a_fraction_nor_a_number_are_refused(name: str, value: float) -> None:
    sizes = {"val_size": 0.1, "test_size": 0.1} | {name: value}
    with pytest.raises(InputError, match=f"{name}: expected a fraction in .* or an integer number"):
        split_indices(None, 20, SplitSpec(**sizes))


@pytest.mark.parametrize(("num_folds", "fold"), [(0, 0), (1, 0), (-2, 0), (21, 0), (5, 5), (5, -1)])
def test_invalid_folds_are_refused(num_folds: int, fold: int) -> None:
    with pytest.raises(InputError, match="num_folds: expected 2 to 20 folds"):
        split_indices(None, 20, SplitSpec(0.1, 0, 0, num_folds, fold))


@pytest.mark.parametrize("folds", [{}, {"num_folds": 4, "fold": 1}])
def test_groups_stay_together(folds: dict[str, Any]) -> None:
    groups = torch.randint(0, 120, (600,), generator=torch.Generator().manual_seed(1)) * 3
    labels = groups % 5
    parts = split_indices(labels, 600, SplitSpec(0.2, 0.1, **folds), groups)
    assert sorted(torch.cat(parts).tolist()) == list(range(600))
    train, val, test = ({int(groups[i]) for i in part} for part in parts)
    assert not train & val | train & test | val & test
    assert all(len(part) > 20 for part in parts)


@pytest.mark.parametrize("sizes", [(540, 60), (1.5, 0.1), (700, 0.1), (600, 0), (0, 1200)])
def test_invalid_sizes_with_groups_are_refused(sizes: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="size"):
        split_indices(None, 600, SplitSpec(*sizes), torch.arange(600) // 10)


@pytest.mark.parametrize(("size", "num_folds"), [(100, 4), (103, 5), (11, 2), (7, 6)])
def test_expanding_window_matches_scikit_learn(size: int, num_folds: int) -> None:
    splitter = TimeSeriesSplit(num_folds)
    for fold, (train, test) in enumerate(splitter.split(np.zeros(size))):
        ends = expanding_window_split(size, 0, num_folds, fold)
        assert ends == (len(train), test[0], test[-1] + 1)


def test_expanding_window_validates_on_the_steps_before_the_test_block() -> None:
    assert expanding_window_split(100, 0.25, 4, 0) == (15, 20, 40)
    assert expanding_window_split(100, 0.25, 4, 3) == (60, 80, 100)
    assert expanding_window_split(100, 5, 4, 3) == (75, 80, 100)


@pytest.mark.parametrize(("num_folds", "fold"), [(0, 0), (1, 0), (20, 0), (5, 5), (5, -1)])
def test_invalid_expanding_window_folds_are_refused(num_folds: int, fold: int) -> None:
    with pytest.raises(InputError, match="num_folds: expected 2 to 19 folds"):
        expanding_window_split(20, 0.1, num_folds, fold)


def test_a_validation_split_without_training_steps_is_refused() -> None:
    with pytest.raises(InputError, match="val_size: 20 of the 20 steps before the test block"):
        expanding_window_split(100, 20, 4, 0)


@pytest.mark.parametrize(
    ("num_groups", "spec", "message"),
    [
        (1, SplitSpec(0.2), "val_size: 0.2 of 1 group rounds to none; .* use data with more groups$"),
        (4, SplitSpec(0.3, 0.1), "test_size: 0.1 of 4 groups rounds to none; .*, or set --data.test_size to 0.25"),
        (2, SplitSpec(0.5, 0.5), r"1 \+ 1 of 2 groups leave none for training"),
        (3, SplitSpec(0.2, 0.2, num_folds=4), "expected 2 to 3 folds, the number of groups"),
    ],
)
def test_too_few_groups_are_an_error(num_groups: int, spec: SplitSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_indices(None, 24, spec, torch.arange(24) % num_groups)
