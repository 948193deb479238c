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
    """Parameters of a split.

    Args:
        val_size: Size of the validation split: a fraction in [0, 1), or a number of samples from 1. With folds and no
            test split, the validation split is the fold.
        test_size: Size of the test split, as `val_size`; 0 for none. With folds, the test split is the fold.
        seed: Seed of the random order of the samples.
        num_folds: Number of folds, at least 2; None for a single split.
        fold: Index of the held-out fold, in [0, num_folds).
    """

    val_size: float
    test_size: float = 0
    seed: int = 0
    num_folds: int | None = None
    fold: int = 0


def split_indices(
    labels: Tensor | None, size: int, spec: SplitSpec, groups: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Split `range(size)` into disjoint indices `(train, val, test)`, stratified by class.

    The samples are put in a random order in which every contiguous block contains each class nearly in proportion: of a
    class with the fraction f of all samples, a block of k samples holds f * k, give or take at most
    1 + f * (number of classes). The test split is the first block, followed by the validation split. A fold is a block
    as well. Classes of one sample are in the middle of the order.

    Args:
        labels: Class of each sample, `(size,)`, to stratify by; None for no stratification.
        size: Number of samples.
        spec: Sizes, seed and folds.
        groups: Group of each sample, `(size,)`; None if each sample is a group. Samples of a group, such as copies,
            stay in the same split, so that the sizes of the splits are approximate. A group has the label of its first
            sample.

    Raises:
        InputError: The sizes or folds leave no sample for training.
    """
    if groups is not None:
        return _split_groups(groups, labels, spec)
    return _split_units(labels, size, spec, "samples")


def _split_units(labels: Tensor | None, size: int, spec: SplitSpec, noun: str) -> tuple[Tensor, Tensor, Tensor]:
    """Split samples or groups, which are called `noun` in messages; see `split_indices`."""
    order = _stratified_order(labels, size, spec.seed)
    num_val, num_test = _count("val_size", spec.val_size, size), _count("test_size", spec.test_size, size)
    if spec.num_folds is not None:
        num_folds, fold = spec.num_folds, spec.fold
        if not 2 <= num_folds <= size or not 0 <= fold < num_folds:
            raise InputError(
                f"num_folds: expected 2 to {size} folds, the number of {noun}, and a fold in [0, num_folds), "
                f"got fold {fold} of {num_folds}"
            )
        bounds = [round(i * size / num_folds) for i in range(num_folds + 1)]
        order = order.roll(-bounds[fold])
        held_out = bounds[fold + 1] - bounds[fold]
        num_val, num_test = (num_val, held_out) if spec.test_size else (held_out, 0)
    if num_val + num_test >= size:
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} {noun} leave none for training")
    test, val, train = order.tensor_split([num_test, num_test + num_val])
    return train, val, test


def _split_groups(groups: Tensor, labels: Tensor | None, spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Split the groups like samples, with sizes as fractions, then assign each sample to the split of its group."""
    size = len(groups)
    _, group = groups.unique(return_inverse=True)
    count = int(group.max()) + 1
    first = torch.full((count,), size).scatter_reduce(0, group, torch.arange(size), "amin")
    num_val, num_test = _count("val_size", spec.val_size, size), _count("test_size", spec.test_size, size)
    if max(num_val, num_test) >= size:  # a fraction of 1 or more would be taken as a number of groups
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} samples leave none for training")
    for name, number in (("val_size", num_val), ("test_size", num_test)):
        is_used = spec.num_folds is None or (name == "val_size" and spec.test_size > 0)
        if is_used and number and round(number / size * count) == 0:
            enough = f", or set --data.{name} to {1 / count:.2g}" if count > 2 else ""
            raise InputError(
                f"{name}: {getattr(spec, name):g} of {count} group{'s' * (count > 1)} rounds to none; samples that "
                f"belong together, such as copies, are one group; use data with more groups{enough}"
            )
    group_labels = None if labels is None else labels[first]
    fractions = replace(spec, val_size=num_val / size, test_size=num_test / size)
    split = torch.empty(count, dtype=torch.long)
    for number, part in enumerate(_split_units(group_labels, count, fractions, "groups")):
        split[part] = number
    train, val, test = (torch.nonzero(split[group] == number).squeeze(1) for number in range(3))
    return train, val, test


def _stratified_order(labels: Tensor | None, size: int, seed: int) -> Tensor:
    """Return a random order of the samples in which the classes are interleaved in proportion, `(size,)`."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    if labels is None:
        return order
    # Sorting by the relative position of a sample within its class, in (0, 1), interleaves the classes.
    _, classes = labels[order].unique(return_inverse=True)
    counts = classes.bincount()
    by_class = classes.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    position = torch.empty(size, dtype=torch.float64)
    position[by_class] = (torch.arange(size) - starts.repeat_interleave(counts) + 0.5).double()
    return order[(position / counts[classes]).argsort(stable=True)]


def _count(name: str, value: float, size: int) -> int:
    """Return a size, given as a fraction or a number of samples, as a number of samples."""
    if not 0 <= value < math.inf or (value >= 1 and value != int(value)):
        raise InputError(f"{name}: expected a fraction in [0, 1) or an integer number of samples, got {value}")
    return int(value) if value >= 1 else round(value * size)


def chronological_ends(size: int, val_size: float, test_size: float) -> tuple[int, int, int]:
    """Return the steps at which training, validation and test end if a series is split in this order.

    Args:
        size: Number of time steps.
        val_size: Size of the validation split: a fraction in [0, 1), or a number of steps from 1.
        test_size: Size of the test split, as `val_size`.

    Raises:
        InputError: The sizes leave no step for training.
    """
    num_val, num_test = _count("val_size", val_size, size), _count("test_size", test_size, size)
    if num_val + num_test >= size:
        raise InputError(f"val_size, test_size: {num_val} + {num_test} of {size} steps leave none for training")
    return size - num_test - num_val, size - num_test, size


def expanding_window_split(size: int, val_size: float, num_folds: int, fold: int) -> tuple[int, int, int]:
    """Return the steps at which training, validation and test end in one fold of an expanding-window cross-validation.

    The series is divided into `num_folds + 1` equal blocks, where the first block takes the remainder. Fold i tests on
    block i + 1 and trains on all blocks before it, as in scikit-learn's TimeSeriesSplit.

    Args:
        size: Number of time steps.
        val_size: Size of the validation split, taken from the end of the steps before the test block: a fraction of
            these in [0, 1), or a number of steps from 1.
        num_folds: Number of folds, at least 2.
        fold: Index of the fold, from 0. Later folds have more training steps.

    Raises:
        InputError: The fold does not exist, or the sizes leave no step for training.
    """
    if not 2 <= num_folds < size or not 0 <= fold < num_folds:
        raise InputError(
            f"num_folds: expected 2 to {size - 1} folds and a fold in [0, num_folds), got fold {fold} of {num_folds}"
        )
    block = size // (num_folds + 1)
    start = size - (num_folds - fold) * block
    num_val = _count("val_size", val_size, start)
    if num_val >= start:
        raise InputError(f"val_size: {num_val} of the {start} steps before the test block leave none for training")
    return start - num_val, start, start + block


def check_trained_on(
    class_names: Sequence[str], targets: Tensor, kind: str, otherwise: str = " or remove the class"
) -> None:
    """Raise InputError if a class has no training sample.

    Args:
        class_names: Names of the classes.
        targets: Class of each training sample, `(samples,)`.
        kind: What a sample is called in the message, such as `image`.
        otherwise: The end of the message: what the user can do instead of adding samples.
    """
    for name, count in zip(class_names, targets.long().bincount(minlength=len(class_names)), strict=True):
        if not count:
            raise InputError(f"class '{name}' has no {kind} in the training split; add some{otherwise}")
