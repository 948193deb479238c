"""Test-time augmentation: what a network says of an image and of its mirrored and shifted copies, averaged."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor
from torch.nn.functional import pad

from litnets.errors import InputError

Views = Literal["one", "mirror", "mirror_shift"]


def check_views(views: Views, input_shape: Sequence[int | None] | None) -> None:
    """Raises InputError where the inputs are no images."""
    if views != "one" and input_shape is not None and len(input_shape) != 3:
        shape = ", ".join("any" if size is None else str(size) for size in input_shape)
        raise InputError(
            f"test_views: {views} is for images (channels, height, width); one input of these data is ({shape})"
        )


def forward_tta(forward: Callable[..., Tensor], inputs: Tensor | tuple[Tensor, ...], views: Views) -> Tensor:
    """Mean of the network's outputs `(N, ...)` over the views of each image, `(N, channels, height, width)`."""
    if views == "one":
        return forward(inputs)
    assert isinstance(inputs, Tensor)
    outputs = _both_ways(forward, inputs)
    if views == "mirror":
        return outputs
    height, width = inputs.shape[-2:]
    # What comes in from outside repeats the border; reflection would need images of two pixels.
    padded = pad(inputs, (1, 1, 1, 1), "replicate")
    shifted = (padded[..., i : i + height, i : i + width] for i in (0, 2))
    return outputs / 2 + sum(_both_ways(forward, images) for images in shifted) / 4


def _both_ways(forward: Callable[..., Tensor], images: Tensor) -> Tensor:
    return (forward(images) + forward(images.flip(-1))) / 2
