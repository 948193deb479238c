"""What the shape of one input, as the data state it, means to each kind of network."""

from collections.abc import Sequence

from litnets.errors import InputError


def image_channels(input_shape: Sequence[int], task: str) -> int:
    """Channels of an input `(channels, height, width)` for a convolutional network.

    Raises:
        InputError: The input is no image.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"{task} reads images (channels, height, width); one input of these data is {_shown(input_shape)}"
        )
    return input_shape[0]


def step_size(input_shape: Sequence[int], task: str) -> int:
    """Numbers in one step of a sequence `(steps, features)`, or in one row of an image `(channels, height, width)`.

    Raises:
        InputError: The input has no order to read it in.
    """
    if len(input_shape) == 3:
        return input_shape[0] * input_shape[2]
    if len(input_shape) == 2:
        return input_shape[1]
    raise InputError(
        f"{task} reads sequences (steps, features), or images row by row; "
        f"one input of these data is {_shown(input_shape)}"
    )


def _shown(input_shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, input_shape))})"
