"""Mixup and CutMix: mix pairs of training inputs, and their losses in the same proportion."""

import math
import random

import torch
from torch import Tensor

from litnets.errors import InputError
from litnets.tasks.input_shapes import Shape, format_shape


class Mixing:
    """Mix each input of a batch with another one of the batch, with one weight per batch.

    Args:
        mixup: Parameter a of Beta(a, a), from which the weight is sampled; 0 disables mixup.
        cutmix: Likewise for the area of a rectangle of the other image. If both are set, each batch gets one of them.
        input_shape: Shape of one input, or None if it is unknown.

    Raises:
        InputError: A parameter is below 0, or the inputs cannot be mixed.
    """

    def __init__(self, mixup: float, cutmix: float, input_shape: Shape | None) -> None:
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if value < 0:
                raise InputError(f"{name}: expected at least 0, got {value}")
        shape = input_shape or ()
        if None in shape:
            name = "mixup" if mixup else "cutmix"
            raise InputError(f"{name}: needs inputs of one size, but one input of the data is {format_shape(shape)}")
        if cutmix and len(shape) not in (0, 3):
            raise InputError(
                f"cutmix: is for images (channels, height, width), but one input of the data is {format_shape(shape)}"
            )
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor, float]:
        """Return the mixed inputs `(N, ...)`, the index of each partner `(N,)`, and the weight of the original."""
        assert isinstance(inputs, Tensor)
        partners = torch.randperm(len(inputs), device=inputs.device)
        # Python's generator does not synchronize with the device. It is seeded together with torch's.
        cut = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        weight = random.betavariate(alpha, alpha)
        if not cut:
            return torch.lerp(inputs[partners], inputs, weight), partners, weight
        height, width = inputs.shape[-2:]
        side = math.sqrt(1 - weight)
        top, bottom = _random_interval(height, side)
        left, right = _random_interval(width, side)
        mixed = inputs.clone()
        mixed[..., top:bottom, left:right] = inputs[partners, ..., top:bottom, left:right]
        return mixed, partners, 1 - (bottom - top) * (right - left) / (height * width)


def _random_interval(size: int, fraction: float) -> tuple[int, int]:
    """Return an interval of about `fraction * size` around a random center, clipped to [0, size]."""
    length = round(size * fraction)
    start = random.randrange(size) - length // 2
    return max(start, 0), min(start + length, size)
