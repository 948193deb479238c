"""Augmentation of a whole batch of images at once, each sample in its own way, on the device that holds the batch."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from litnets.errors import InputError


class Augmentation:
    """Changes a training batch of raw images `(N, C, H, W)`, of any dtype, without changing its shape.

    Attributes:
        epoch: The epoch that the batch is part of, from 0; set before each batch.
    """

    epoch: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        raise NotImplementedError


class RandomShift(Augmentation):
    """Moves each image by up to `pixels` in both directions; the same as padding and cropping at random.

    Args:
        pixels: Largest shift, in pixels.
        padding: What comes in from outside: `zeros` or `reflect`.

    Raises:
        InputError: A shift below 0, or one that is as large as the images, which cannot be reflected so far.
    """

    def __init__(self, pixels: int = 2, padding: Literal["zeros", "reflect"] = "zeros") -> None:
        if pixels < 0:
            raise InputError(f"RandomShift: pixels: expected a number from 0 up, got {pixels}")
        self.pixels, self.padding = pixels, padding

    def __call__(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        p = self.pixels
        if self.padding == "reflect":
            if p >= min(height, width):
                raise InputError(
                    f"RandomShift: pixels: images of {height}x{width} are reflected by at most "
                    f"{min(height, width) - 1}, got {p}; less, or padding: zeros"
                )
            # Reflection is not there for uint8; every uint8 is exact as a float.
            padded = pad(images.float(), (p, p, p, p), "reflect").to(images.dtype)
        else:
            padded = pad(images, (p, p, p, p))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2p + 1, 2p + 1, H, W), a view
        down, right = torch.randint(0, 2 * p + 1, (2, n), device=images.device)
        return windows[torch.arange(n, device=images.device), :, down, right]


class RandomFlip(Augmentation):
    """Mirrors each image left to right with probability one half."""

    def __call__(self, images: Tensor) -> Tensor:
        flip = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(flip, images.flip(3), images)


class AlternatingFlip(Augmentation):
    """Mirrors each image left to right in every second epoch, half of the images in the even ones and the other half
    in the odd ones: each is seen both ways equally often, in any two epochs once each (Jordan 2024).

    Which half an image belongs to is read from its own values, so it has to be the first of the augmentations that
    change any. Images with the same sum of values are in the same half.
    """

    def __call__(self, images: Tensor) -> Tensor:
        total = images.flatten(1).sum(1, dtype=torch.int64)
        # A bit of the sum that all of its digits have a part in: the sums of some data are all even.
        half = (total * 2_654_435_761 >> 32) & 1
        flip = (half + self.epoch) % 2 == 1
        return torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)


class RandomAffine(Augmentation):
    """Turns, stretches and slants each image about its centre, each by an amount drawn evenly from [-x, x], with zeros
    from outside and linear interpolation, as handwriting differs.

    Args:
        degrees: Largest angle.
        scale: Largest share by which the step from pixel to pixel changes, in [0, 1), in height and width each by its
            own: sizes become 1 / (1 - scale) to 1 / (1 + scale) times what they were.
        shear: Largest slant, in columns for each row.

    Raises:
        InputError: A scale that may turn an image inside out.
    """

    def __init__(self, degrees: float = 10.0, scale: float = 0.1, shear: float = 0.1) -> None:
        if not 0 <= scale < 1:
            raise InputError(f"RandomAffine: scale: expected a share in [0, 1), got {scale}")
        self.degrees, self.scale, self.shear = degrees, scale, shear

    def __call__(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        if not n:
            return images  # torch makes no grid for none
        angle, wide, high, slant = (
            x * (2 * torch.rand(n, device=images.device) - 1)
            for x in (math.radians(self.degrees), self.scale, self.scale, self.shear)
        )
        wide, high, cos, sin = 1 + wide, 1 + high, angle.cos(), angle.sin()
        # From a place in the new image to the one that it shows of the old: rotation @ [[wide, slant], [0, high]], in
        # coordinates from -1 to 1 across each side, hence the ratios.
        zero, ratio = torch.zeros_like(angle), height / width
        across = torch.stack([cos * wide, (cos * slant - sin * high) * ratio, zero], 1)
        down = torch.stack([sin * wide / ratio, sin * slant + cos * high, zero], 1)
        grid = affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
        moved = grid_sample(images.float(), grid, align_corners=False)
        return (moved if images.is_floating_point() else moved.round()).to(images.dtype)


class Noise(Augmentation):
    """Adds normal noise to each value, rounded and kept in [0, 255].

    Args:
        std: Its standard deviation, of values from 0 to 255.
    """

    def __init__(self, std: float = 10.0) -> None:
        self.std = std

    def __call__(self, images: Tensor) -> Tensor:
        noise = self.std * torch.randn(images.shape, device=images.device)
        return (images + noise).clamp(0, 255).round().to(images.dtype)


class Cutout(Augmentation):
    """Sets a square of each image to zero, its centre drawn over the whole image (DeVries and Taylor 2017).

    Args:
        size: Side of the square, in pixels.
    """

    def __init__(self, size: int = 8) -> None:
        self.size = size

    def __call__(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        rows = torch.arange(height, device=images.device) - torch.randint(height, (n, 1), device=images.device)
        columns = torch.arange(width, device=images.device) - torch.randint(width, (n, 1), device=images.device)
        low, high = -(self.size // 2), (self.size + 1) // 2
        inside_rows = (low <= rows) & (rows < high)  # (N, H)
        inside_columns = (low <= columns) & (columns < high)  # (N, W)
        return images.masked_fill((inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)).unsqueeze(1), 0)


class ColorJitter(Augmentation):
    """Changes brightness, contrast and saturation of each image, in this order, each by a factor drawn evenly from
    [1 - x, 1 + x]: all values are multiplied; the distance from the image's mean grey is; the distance from each
    pixel's own grey is. The same formulas as torchvision's, for uint8.

    Args:
        brightness: How far the factor may be from 1, in [0, 1].
        contrast: Likewise.
        saturation: Likewise; of no effect on images of one channel.

    Raises:
        InputError: A number outside [0, 1].
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2) -> None:
        for name, x in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not 0 <= x <= 1:
                raise InputError(f"ColorJitter: {name}: expected a number in [0, 1], got {x}")
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def __call__(self, images: Tensor) -> Tensor:
        bright, contrast, saturation = (
            1 + x * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
            for x in (self.brightness, self.contrast, self.saturation)
        )
        out = (images.float() * bright).clamp(0, 255)
        mean = _grey(out).mean((2, 3), keepdim=True)
        out = (mean + contrast * (out - mean)).clamp(0, 255)
        grey = _grey(out)
        return (grey + saturation * (out - grey)).clamp(0, 255).round().to(images.dtype)


def _grey(images: Tensor) -> Tensor:
    """Luma `(N, 1, H, W)` of red, green and blue (ITU-R BT.601); what has one channel is grey already."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)
    return (images * weights.view(3, 1, 1)).sum(1, keepdim=True)
