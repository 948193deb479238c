"""What the shape of one input, as the data state it, means to each kind of network."""

import math
from collections.abc import Sequence

from litnets.errors import InputError

Shape = Sequence[int | None]

_SEQUENCE = "an RNN, a CNN1d or a Transformer"  # the networks that read steps in their order


def flat_size(input_shape: Shape, task: str) -> int:
    """Numbers in one input, for a network that takes them all at once.

    Raises:
        InputError: The inputs differ in size.
    """
    sizes = [size for size in input_shape if size is not None]
    if len(sizes) < len(input_shape):
        raise _refusal(task, "reads inputs of one size", input_shape)
    return math.prod(sizes)


def image_channels(input_shape: Shape, task: str) -> int:
    """Channels of an input `(channels, height, width)` for a convolutional network.

    Raises:
        InputError: The input is no image.
    """
    if len(input_shape) != 3 or input_shape[0] is None:
        raise _refusal(task, "reads images (channels, height, width)", input_shape)
    return input_shape[0]


def step_size(input_shape: Shape, task: str) -> int:
    """Numbers in one step of a sequence `(steps, features)`, or in one row of an image `(channels, height, width)`.

    Raises:
        InputError: The input has no order to read it in, or is tokens (which have an embedding's size, not one of
            their own).
    """
    if len(input_shape) == 3 and input_shape[0] is not None and input_shape[2] is not None:
        return input_shape[0] * input_shape[2]
    if len(input_shape) == 2 and input_shape[1] is not None:
        return input_shape[1]
    raise _refusal(task, "reads sequences (steps, features), or images row by row", input_shape)


def check_rows(rows: int, input_shape: Shape, task: str) -> None:
    """Raises InputError if an input cannot be read so many rows at a time."""
    if rows < 1:
        raise InputError(f"rows_per_step: expected at least 1, got {rows}")
    if rows == 1:
        return
    if len(input_shape) != 3:
        raise _refusal(task, f"with rows_per_step {rows} reads images", input_shape)
    height = input_shape[1]
    if height is None or height % rows:
        raise InputError(
            f"rows_per_step: expected a divisor of the images' height, which is {height or 'not known'}, got {rows}"
        )


def _refusal(task: str, reads: str, input_shape: Shape) -> InputError:
    kinds = {
        1: ("a row of a table", "an MLP fits") if input_shape[0] is not None else ("a text", f"{_SEQUENCE} fits"),
        2: ("a sequence", f"{_SEQUENCE} fits"),
        3: ("an image", "a CNN fits" if None in input_shape else "an MLP, a CNN or an RNN fits"),
    }
    kind, fits = kinds.get(len(input_shape), ("an array", "an MLP fits"))
    shape = ", ".join("any" if size is None else str(size) for size in input_shape)
    return InputError(f"{task} {reads}; one input of these data is {kind} ({shape}): {fits}")
