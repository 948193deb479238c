"""Seeded, disjoint, stratified splits and folds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from litnets.errors import InputError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitSpec:
    """How samples are to be split.

    Args:
        val_size: Validation split, a fraction in [0, 1) or a number of samples from 1. With folds and no test split the
            validation split is the fold.
        test_size: Test split, likewise; 0 for none. With folds the test split is the fold.
        seed: Seed of the order in which samples are split.
        num_folds: Number of folds, at least 2; None for a single split.
        fold: The fold that is held out, in [0, num_folds).
    """

    val_size: float
    test_size: float = 0
    seed: int = 0
    num_folds: int | None = None
    fold: int = 0


def split_indices(
    labels: Tensor | None, size: int, spec: SplitSpec, groups: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices `(train, val, test)`, disjoint, together all of `range(size)`.

    Samples are put in a random order in which every stretch holds each class in proportion (to a sample, unless a class
    has only one or two). The test split is its first stretch, then validation; a fold is a stretch as well.

    Args:
        labels: Class of each sample, `(size,)`, to stratify by; None for no classes.
        size: Number of samples.
        spec: Sizes, seed and folds.
        groups: Group of each sample, `(size,)`: samples of one group (copies, recordings of one take ...) stay together
            in one split, whose size is then that of complete groups. The label of a group is that of its first sample.

    Raises:
        InputError: Sizes or folds that leave no sample for training.
    """
    if groups is not None:
        return _split_groups(groups, labels, spec)
    order = _stratified_order(labels, size, spec.seed)
    num_val, num_test = _count("val_size", spec.val_size, size), _count("test_size", spec.test_size, size)
    if spec.num_folds is not None:
        num_folds, fold = spec.num_folds, spec.fold
        if not 2 <= num_folds <= size or not 0 <= fold < num_folds:
            raise InputError(f"num_folds: expected 2 to {size} folds and a fold from 0, got fold {fold} of {num_folds}")
        bounds = [round(i * size / num_folds) for i in range(num_folds + 1)]
        order = order.roll(-bounds[fold])
        held_out = bounds[fold + 1] - bounds[fold]
        num_val, num_test = (num_val, held_out) if spec.test_size else (held_out, 0)
    if num_val + num_test >= size:
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} samples leave none for training")
    test, val, train = order.tensor_split([num_test, num_test + num_val])
    return train, val, test


def _split_groups(groups: Tensor, labels: Tensor | None, spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Split the groups like samples, then give each sample the split of its group; counts become fractions."""
    size = len(groups)
    _, group = groups.unique(return_inverse=True)
    count = int(group.max()) + 1
    first = torch.full((count,), size).scatter_reduce(0, group, torch.arange(size), "amin")
    num_val, num_test = _count("val_size", spec.val_size, size), _count("test_size", spec.test_size, size)
    if max(num_val, num_test) >= size:  # it would be read as a number of groups instead of a fraction
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} samples leave none for training")
    group_labels = None if labels is None else labels[first]
    fractions = replace(spec, val_size=num_val / size, test_size=num_test / size)
    split = torch.empty(count, dtype=torch.long)
    for number, part in enumerate(split_indices(group_labels, count, fractions)):
        split[part] = number
    train, val, test = (torch.nonzero(split[group] == number).squeeze(1) for number in range(3))
    return train, val, test


def _stratified_order(labels: Tensor | None, size: int, seed: int) -> Tensor:
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    if labels is None:
        return order
    # Where a sample stands among those of its class, as a share in (0, 1): sorted by it, the classes are interleaved.
    _, classes = labels[order].unique(return_inverse=True)
    counts = classes.bincount()
    by_class = classes.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    position = torch.empty(size, dtype=torch.float64)
    position[by_class] = (torch.arange(size) - starts.repeat_interleave(counts) + 0.5).double()
    return order[(position / counts[classes]).argsort(stable=True)]


def _count(name: str, value: float, size: int) -> int:
    if not 0 <= value < math.inf or (value >= 1 and value != int(value)):
        raise InputError(f"{name}: expected a share in [0, 1) or a whole number of samples, got {value}")
    return int(value) if value >= 1 else round(value * size)


def chronological_ends(size: int, val_size: float, test_size: float) -> tuple[int, int, int]:
    """The steps at which training, validation and test end, for `size` steps of time: test last, validation before.

    Args:
        size: Number of steps.
        val_size: Validation split, a share in [0, 1) or a number of steps from 1.
        test_size: Test split, likewise.

    Raises:
        InputError: Sizes that leave no step for training.
    """
    num_val, num_test = _count("val_size", val_size, size), _count("test_size", test_size, size)
    if num_val + num_test >= size:
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} steps leave none for training")
    return size - num_test - num_val, size - num_test, size


def expanding_window_split(size: int, val_size: float, num_folds: int, fold: int) -> tuple[int, int, int]:
    """The steps at which training, validation and test end in one fold of a cross-validation that keeps the order of
    time: the last `num_folds` of `num_folds + 1` equal blocks are tested, one a fold, each with all before it to learn
    from, as in scikit-learn's TimeSeriesSplit (where the first block takes what the division leaves over, as here).

    Args:
        size: Number of steps.
        val_size: Validation split, the last share in [0, 1) or number of steps of what is before the test block.
        num_folds: Number of folds, at least 2.
        fold: The fold, from 0; the later, the more there is to learn from.

    Raises:
        InputError: Folds that are not there, or sizes that leave no step for training.
    """
    if not 2 <= num_folds < size or not 0 <= fold < num_folds:
        raise InputError(f"num_folds: expected 2 to {size - 1} folds and a fold from 0, got fold {fold} of {num_folds}")
    block = size // (num_folds + 1)
    start = size - (num_folds - fold) * block
    num_val = _count("val_size", val_size, start)
    if num_val >= start:
        raise InputError(f"val_size: {num_val} of the {start} steps before the test block leave none for training")
    return start - num_val, start, start + block


def check_trained_on(
    class_names: Sequence[str], targets: Tensor, kind: str, otherwise: str = " or remove the class"
) -> None:
    """Raises InputError for a class that none of `targets`, those of the training split `(samples,)`, is of; `kind` is
    what one sample is called, `otherwise` what a person may do but add some."""
    for name, count in zip(class_names, targets.long().bincount(minlength=len(class_names)), strict=True):
        if not count:
            raise InputError(f"class '{name}' has no {kind} in the training split; add some{otherwise}")
