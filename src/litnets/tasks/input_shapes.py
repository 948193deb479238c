"""Interpret the shape of one input for each kind of network, and suggest tasks that can read it."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from litnets.errors import InputError, alternatives
from litnets.tasks.registry import NAMED_TASKS

Shape = Sequence[int | None]  # of one input, as the data report it; None where inputs differ in size

InputKind = Literal["row", "tokens", "sequence", "padded sequence", "image", "image of any size"]
_DESCRIPTIONS: dict[InputKind, str] = {
    "row": "a table row",
    "tokens": "a text",
    "sequence": "a sequence",
    "padded sequence": "a sequence",
    "image": "an image",
    "image of any size": "an image",
}


def flat_size(input_shape: Shape, task: type) -> int:
    """Return the number of values in one input, for a network that reads all of them at once.

    Raises:
        InputError: The inputs differ in size.
    """
    sizes = [size for size in input_shape if size is not None]
    if len(sizes) < len(input_shape):
        raise _wrong_shape(task, "inputs of one size", input_shape)
    return math.prod(sizes)


def image_channels(input_shape: Shape, task: type) -> int:
    """Return the channels of an image `(channels, height, width)`.

    Raises:
        InputError: The input is not an image.
    """
    if len(input_shape) != 3 or input_shape[0] is None:
        raise _wrong_shape(task, "images (channels, height, width)", input_shape)
    return input_shape[0]


def image_sizes(input_shape: Shape, task: type) -> tuple[int, int, int]:
    """Return the sizes of an image `(channels, height, width)`, for a network that reads images of one size.

    Raises:
        InputError: The input is not an image, or the images differ in size.
    """
    image_channels(input_shape, task)
    channels, height, width = input_shape
    if channels is None or height is None or width is None:
        raise _wrong_shape(task, "images of one size", input_shape)
    return channels, height, width


def step_size(input_shape: Shape, task: type) -> int:
    """Return the features of one step of `(steps, features)`, or of one row of an image `(channels, height, width)`.

    Raises:
        InputError: The input is neither a sequence nor an image.
    """
    if len(input_shape) == 3 and input_shape[0] is not None and input_shape[2] is not None:
        return input_shape[0] * input_shape[2]
    if len(input_shape) == 2 and input_shape[1] is not None:
        return input_shape[1]
    raise _wrong_shape(task, "sequences (steps, features), or images row by row", input_shape)


def check_rows(rows: int, input_shape: Shape, task: type) -> None:
    """Check that an image can be read `rows` rows at a time.

    Raises:
        InputError: The input is not an image, or its height is not a multiple of `rows`.
    """
    if rows < 1:
        raise InputError(f"rows_per_step: expected at least 1, got {rows}")
    if rows == 1:
        return
    if len(input_shape) != 3:
        raise _wrong_shape(task, f"images with rows_per_step {rows}", input_shape)
    height = input_shape[1]
    if height is None or height % rows:
        raise InputError(
            f"rows_per_step: expected a divisor of the image height, which is {height or 'unknown'}, got {rows}"
        )


def format_shape(input_shape: Shape) -> str:
    """Return a shape for a message: `(3, any, any)`."""
    return f"({', '.join('any' if size is None else str(size) for size in input_shape)})"


def wrong_targets(task: Any, input_shape: Shape | None, targets: str | None = None) -> InputError:
    """Return the error for data whose targets are not what a task predicts.

    Args:
        task: The class of the task.
        input_shape: Shape of one input, or None if it is unknown.
        targets: What the targets are, such as `masks`; None if it is only known that the task cannot predict them.
    """
    others: dict[str, str] = {}
    # The same network comes first; others may read inputs that it cannot.
    same_network_first = sorted(NAMED_TASKS, key=lambda cls: cls.network() is not task.network())
    for cls in same_network_first:
        if cls.predicts == task.predicts or (targets is not None and cls.predicts != targets):
            continue
        if input_shape is None or cls.can_read(_input_kind(input_shape)):
            others.setdefault(cls.predicts, f"{cls.__name__} for {cls.predicts}")
    hint = f"use {alternatives(others.values())}"
    if task.predicts in ("classes", "numbers") and targets is None and (input_shape is None or len(input_shape) == 1):
        kind = "classification" if task.predicts == "classes" else "regression"
        hint += f", or --data.task {kind} if the targets of a TableCSV are {task.predicts}"  # integers can be either
    actual = targets or "something else"
    return InputError(f"{task.__name__} predicts {task.predicts}, but the targets of the data are {actual}: {hint}")


def _wrong_shape(task: Any, reads: str, input_shape: Shape) -> InputError:
    kind = _input_kind(input_shape)
    names = [cls.__name__ for cls in NAMED_TASKS if cls.predicts == task.predicts and cls.can_read(kind)]
    hint = f": use {alternatives(names)}" if names else ""
    actual = f"{_DESCRIPTIONS[kind]} {format_shape(input_shape)}"
    return InputError(f"{task.__name__} reads {reads}, but one input of the data is {actual}{hint}")


def _input_kind(input_shape: Shape) -> InputKind:
    if len(input_shape) == 1:
        return "row" if input_shape[0] is not None else "tokens"
    if len(input_shape) == 2:
        return "padded sequence" if None in input_shape else "sequence"
    return "image of any size" if None in input_shape else "image"
