"""Test-time augmentation: average the outputs over an image and its mirrored and shifted copies."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn.functional import pad

from litnets.errors import InputError
from litnets.tasks.input_shapes import Shape, format_shape

Views = Literal["one", "mirror", "mirror_shift"]


def check_views(views: Views, input_shape: Shape | None) -> None:
    """Check that inputs can be mirrored and shifted, if their shape is known.

    Raises:
        InputError: The inputs are not images.
    """
    if views != "one" and input_shape is not None and len(input_shape) != 3:
        raise InputError(
            f"tta: {views} is for images (channels, height, width), but one input of the data is "
            f"{format_shape(input_shape)}"
        )


def forward_tta(forward: Callable[..., Tensor], inputs: Tensor | tuple[Tensor, ...], views: Views) -> Tensor:
    """Return the outputs `(N, ...)`, averaged over the views of each image `(N, channels, height, width)`."""
    if views == "one":
        return forward(inputs)
    assert isinstance(inputs, Tensor)
    outputs = _forward_mirrored(forward, inputs)
    if views == "mirror":
        return outputs
    height, width = inputs.shape[-2:]
    # Repeat the border. Reflection would need images of at least two pixels.
    padded = pad(inputs, (1, 1, 1, 1), "replicate")
    shifted = (padded[..., i : i + height, i : i + width] for i in (0, 2))
    return outputs / 2 + sum(_forward_mirrored(forward, images) for images in shifted) / 4


def _forward_mirrored(forward: Callable[..., Tensor], images: Tensor) -> Tensor:
    return (forward(images) + forward(images.flip(-1))) / 2
