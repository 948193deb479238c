"""Encode targets in memory for a model: as classes, multi-label targets, or numbers."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.batching import smallest_type
from litnets.data.core.inputs import check_finite
from litnets.errors import InputError

Array = NDArray[Any]
Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class EncodedTargets:
    """Targets in the form that a model takes.

    Args:
        values: Class indices `(N,)`, multi-label targets `(N, classes)`, or float32 numbers `(N, targets)`.
        class_names: Names of the classes; None if the targets are numbers.
        target_names: Names of the numbers; None if the targets are classes.
    """

    values: Tensor
    class_names: list[str] | None = None
    target_names: list[str] | None = None


def read_targets(name: str, targets: Any) -> Array:
    """Return targets as an array of booleans, integers, floats or texts."""
    array = np.asarray(targets.detach().cpu() if isinstance(targets, Tensor) else targets)
    if array.dtype.kind == "O":
        kinds = {type(value) for value in array.flat}
        if kinds != {str}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise InputError(f"{name}: expected numbers or texts, got {names}")
        array = array.astype(str)
    if array.dtype.kind not in "biufU" or not array.ndim:
        raise InputError(f"{name}: expected an array of numbers or texts, got {array.dtype}")
    return array


def encode_targets(
    targets: Array, task: Task | None, class_names: list[str] | None = None, target_names: list[str] | None = None
) -> EncodedTargets:
    """Return targets as classes or numbers; see `ArrayData`.

    Raises:
        InputError: The targets have an unsupported shape or dtype, are not finite, or differ in number from the names.
    """
    if targets.ndim == 2 and targets.shape[1] == 1 and targets.dtype.kind != "f":
        targets = targets[:, 0]
    if targets.ndim not in (1, 2):
        raise InputError(f"targets: expected shape (samples,) or (samples, targets), got {targets.shape}")
    is_text = targets.dtype.kind == "U"
    if task == "classification" or (task is None and targets.dtype.kind != "f"):
        return _encode_matrix(targets, class_names) if targets.ndim == 2 else _encode_classes(targets, class_names)
    if is_text:
        raise InputError(f"targets: expected numbers for regression, got the text '{targets.flat[0]}'")
    with np.errstate(over="ignore"):  # infinity is rejected below
        values = torch.from_numpy(targets.astype(np.float32).reshape(len(targets), -1))
    check_finite("targets", values)
    count = values.shape[1]
    names = target_names or (["target"] if count == 1 else [f"target_{number}" for number in range(1, count + 1)])
    if len(names) != count:
        raise InputError(f"target_names: expected {count} names, one for each column of the targets, got {len(names)}")
    return EncodedTargets(values, target_names=names)


def _encode_classes(targets: Array, class_names: list[str] | None) -> EncodedTargets:
    if targets.dtype.kind == "f":
        if not (targets == np.round(targets)).all():
            raise InputError("targets: expected whole numbers for classification, got floats; set task='regression'")
        targets = targets.astype(np.int64)
    labels, indices = np.unique(targets, return_inverse=True)
    names = [str(label) for label in labels.tolist()]
    if class_names is not None:
        indices, names = _rename(labels, indices, class_names)
    if len(labels) < 2:
        raise InputError(f"targets: expected at least two classes, got only {names[0]}")
    if len(labels) > max(2, len(targets) / 2):
        raise InputError(
            f"targets: {len(labels)} classes in {len(targets)} samples are too many; for numbers, set task='regression'"
        )
    return EncodedTargets(torch.from_numpy(indices.astype(np.int64)).to(smallest_type(len(names))), names)


def _rename(labels: Array, indices: Array, class_names: list[str]) -> tuple[Array, list[str]]:
    """Return the class indices and names in the order of `class_names`."""
    if labels.dtype.kind == "U":
        unknown = [label for label in labels.tolist() if label not in class_names]
        if unknown:
            raise InputError(f"class_names: the targets contain '{unknown[0]}', which is not one of the names")
        return np.array([class_names.index(label) for label in labels.tolist()])[indices], class_names
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise InputError(
            f"class_names: {len(class_names)} names stand for the classes 0 to {len(class_names) - 1}, but the targets "
            f"go from {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64)[indices], class_names


def _encode_matrix(targets: Array, class_names: list[str] | None) -> EncodedTargets:
    """Return one-hot encoded classes, or multi-label targets."""
    if targets.dtype.kind == "U" or not np.isin(targets, (0, 1)).all():
        raise InputError(
            "targets: expected only 0 and 1 in a matrix of classes; for numbers, pass floats, or set task='regression'"
        )
    count = targets.shape[1]
    names = class_names or [str(label) for label in range(count)]
    if len(names) != count:
        raise InputError(f"class_names: expected {count} names, one for each column of the targets, got {len(names)}")
    if (targets.sum(1) == 1).all():
        return EncodedTargets(torch.from_numpy(targets.argmax(1)).to(smallest_type(count)), names)
    return EncodedTargets(torch.from_numpy(targets.astype(np.uint8)), names)
