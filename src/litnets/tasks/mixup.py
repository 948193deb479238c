"""Mixup and CutMix: training inputs made of two, whose losses are mixed alike."""

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from litnets.errors import InputError


class Mixing:
    """Mixes each input of a batch with another one of it, all by the same share, drawn for the batch.

    Args:
        mixup: a of the Beta(a, a) that the share is drawn from; 0 for no blending.
        cutmix: Likewise for a rectangle from the other image; with both, each batch gets one of them.
        input_shape: Shape of one input, None if it is not known.

    Raises:
        InputError: A number below 0, or inputs that cannot be mixed.
    """

    def __init__(self, mixup: float, cutmix: float, input_shape: Sequence[int | None] | None) -> None:
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if value < 0:
                raise InputError(f"{name}: expected a number from 0 up, got {value}")
        shape = input_shape or ()
        given = ", ".join("any" if size is None else str(size) for size in shape)
        if None in shape:
            name = "mixup" if mixup else "cutmix"
            raise InputError(f"{name}: only inputs of one size can be mixed; one input of these data is ({given})")
        if cutmix and len(shape) not in (0, 3):
            raise InputError(f"cutmix: is for images (channels, height, width); one input of these data is ({given})")
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor, float]:
        """The mixed inputs `(N, ...)`, for each the index of the other one `(N,)`, and the share of its own."""
        assert isinstance(inputs, Tensor)
        others = torch.randperm(len(inputs), device=inputs.device)
        # Drawn by Python, whose numbers are had without waiting for the device; seeded as torch is.
        cut = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = random.betavariate(alpha, alpha)
        if not cut:
            return torch.lerp(inputs[others], inputs, share), others, share
        height, width = inputs.shape[-2:]
        side = math.sqrt(1 - share)
        top, bottom = _within(height, side)
        left, right = _within(width, side)
        mixed = inputs.clone()
        mixed[..., top:bottom, left:right] = inputs[others, ..., top:bottom, left:right]
        return mixed, others, 1 - (bottom - top) * (right - left) / (height * width)


def _within(size: int, share: float) -> tuple[int, int]:
    """A stretch of about `share` of `size`, its centre anywhere; what is outside is cut off."""
    length = round(size * share)
    start = random.randrange(size) - length // 2
    return max(start, 0), min(start + length, size)
