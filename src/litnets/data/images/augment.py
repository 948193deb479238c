"""Batched image augmentation on the device of the batch, with different random parameters for each image."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from litnets.data.core.in_memory import RecordsArguments
from litnets.errors import InputError


class Augmentation(RecordsArguments):
    """Base class for augmentations of a batch of raw images `(N, C, H, W)`, of any dtype. The shape stays the same.

        class Invert(Augmentation):
            def __call__(self, images):
                return 255 - images

    For segmentation, derive from `IntensityAugmentation` or `GeometricAugmentation`, which define how masks change.

    Attributes:
        epoch: Epoch of the batch, from 0; set before each batch.
    """

    epoch: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def with_masks(self, images: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return augmented images and their masks.

        Args:
            images: Raw images, `(N, C, H, W)`.
            masks: Class of each pixel, uint8 `(N, H, W)`.
            ignore_index: Class of the pixels that move in from outside the image.
        """
        raise NotImplementedError


class IntensityAugmentation(Augmentation):
    """Base class for augmentations that leave each pixel in place, so that masks do not change."""

    def with_masks(self, images: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        return self(images), masks


class GeometricAugmentation(Augmentation):
    """Base class for augmentations that move the pixels of images and masks together.

        class RandomTurn(GeometricAugmentation):
            def sample(self, images):
                return torch.rand(len(images), device=images.device) < 0.5

            def move(self, values, parameters, ignore_index=None):
                return torch.where(parameters.view(-1, 1, 1, 1), values.rot90(2, (2, 3)), values)

    This one turns each image by 180 degrees with probability 0.5.
    """

    def sample(self, images: Tensor) -> Tensor:
        """Return the random parameters of each image."""
        raise NotImplementedError

    def move(self, values: Tensor, parameters: Tensor, ignore_index: int | None = None) -> Tensor:
        """Return moved images or masks.

        Args:
            values: Images, or masks with one channel, `(N, C, H, W)`.
            parameters: Random parameters that `sample` returned.
            ignore_index: For masks, the class of the pixels that move in from outside the image; None for images.
                Classes must not be interpolated.
        """
        raise NotImplementedError

    def __call__(self, images: Tensor) -> Tensor:
        return self.move(images, self.sample(images))

    def with_masks(self, images: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        parameters = self.sample(images)
        return self.move(images, parameters), self.move(masks.unsqueeze(1), parameters, ignore_index).squeeze(1)


class RandomShift(GeometricAugmentation):
    """Shifts each image randomly in height and width. This is the same as padding and random cropping.

    Args:
        pixels: Largest shift in each direction, in pixels.
        padding: How the border is filled: `zeros` or `reflect`.

    Raises:
        InputError: The shift is negative, or too large to reflect an image of this size.
    """

    def __init__(self, pixels: int = 2, padding: Literal["zeros", "reflect"] = "zeros") -> None:
        if pixels < 0:
            raise InputError(f"RandomShift: pixels: expected at least 0, got {pixels}")
        self.pixels, self.padding = pixels, padding

    def sample(self, images: Tensor) -> Tensor:
        """Return the rows and columns to shift by, `(2, N)`."""
        return torch.randint(0, 2 * self.pixels + 1, (2, len(images)), device=images.device)

    def move(self, values: Tensor, parameters: Tensor, ignore_index: int | None = None) -> Tensor:
        n, _, height, width = values.shape
        p = self.pixels
        if self.padding == "reflect":
            if p >= min(height, width):
                raise InputError(
                    f"RandomShift: pixels: expected at most {min(height, width) - 1} to reflect images of "
                    f"{height}x{width}, got {p}; reduce it or set padding: zeros"
                )
            # torch cannot reflect uint8, but a float represents every uint8 exactly.
            padded = pad(values.float(), (p, p, p, p), "reflect").to(values.dtype)
        else:
            padded = pad(values, (p, p, p, p), value=ignore_index or 0)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2p + 1, 2p + 1, H, W), a view
        down, right = parameters
        return windows[torch.arange(n, device=values.device), :, down, right]


class RandomFlip(GeometricAugmentation):
    """Flips each image horizontally with probability 0.5."""

    def sample(self, images: Tensor) -> Tensor:
        """Return which images are flipped, `(N,)`."""
        return torch.rand(len(images), device=images.device) < 0.5

    def move(self, values: Tensor, parameters: Tensor, ignore_index: int | None = None) -> Tensor:
        return torch.where(parameters.view(-1, 1, 1, 1), values.flip(3), values)


class AlternatingFlip(RandomFlip):
    """Flips each image horizontally in every second epoch (Jordan 2024).

    Half of the images are flipped in even epochs and the other half in odd epochs, so that any two consecutive epochs
    show each image once in each orientation.

    The half is determined by the pixel values, so this has to come before any augmentation that changes them. Images
    with the same sum of values are in the same half. Random crops of an image differ between epochs, so each of them is
    flipped at random instead.
    """

    def sample(self, images: Tensor) -> Tensor:
        total = images.flatten(1).sum(1, dtype=torch.int64)
        # A hash bit that depends on all bits of the sum, because in some data sets all sums are even.
        half = (total * 2_654_435_761 >> 32) & 1
        return (half + self.epoch) % 2 == 1


class RandomAffine(GeometricAugmentation):
    """Rotates, scales and shears each image about its center, similar to variations in handwriting.

    Each parameter is sampled uniformly from [-x, x]. The interpolation is bilinear and the border is filled with zeros.
    Masks use nearest-neighbor interpolation, and their border is ignored.

    Args:
        degrees: Largest rotation angle, in degrees.
        scale: Largest change of the sampling step, in [0, 1), sampled separately for height and width. The size of an
            image changes by a factor between 1 / (1 + scale) and 1 / (1 - scale).
        shear: Largest shear, in columns per row.

    Raises:
        InputError: `scale` is outside [0, 1).
    """

    def __init__(self, degrees: float = 10.0, scale: float = 0.1, shear: float = 0.1) -> None:
        if not 0 <= scale < 1:
            raise InputError(f"RandomAffine: scale: expected a number in [0, 1), got {scale}")
        self.degrees, self.scale, self.shear = degrees, scale, shear

    def sample(self, images: Tensor) -> Tensor:
        """Return the affine map of each image, from coordinates in the output to those in the input, `(N, 2, 3)`."""
        n, _, height, width = images.shape
        angle, wide, high, slant = (
            x * (2 * torch.rand(n, device=images.device) - 1)
            for x in (math.radians(self.degrees), self.scale, self.scale, self.shear)
        )
        wide, high, cos, sin = 1 + wide, 1 + high, angle.cos(), angle.sin()
        # Rotation @ [[wide, slant], [0, high]]. Coordinates range from -1 to 1 over the height and the width, hence the
        # aspect ratios.
        zero, ratio = torch.zeros_like(angle), height / width
        across = torch.stack([cos * wide, (cos * slant - sin * high) * ratio, zero], 1)
        down = torch.stack([sin * wide / ratio, sin * slant + cos * high, zero], 1)
        return torch.stack([across, down], 1)

    def move(self, values: Tensor, parameters: Tensor, ignore_index: int | None = None) -> Tensor:
        if not len(values):
            return values  # affine_grid does not support an empty batch
        grid = affine_grid(parameters, list(values.shape), align_corners=False)
        if ignore_index is not None:  # grid_sample fills the border with zeros
            moved = grid_sample(values.float() - ignore_index, grid, mode="nearest", align_corners=False)
            return (moved + ignore_index).to(values.dtype)
        moved = grid_sample(values.float(), grid, align_corners=False)
        return (moved if values.is_floating_point() else moved.round()).to(values.dtype)


class Noise(IntensityAugmentation):
    """Adds Gaussian noise to each value, rounded and clipped to [0, 255].

    Args:
        std: Standard deviation of the noise, for values from 0 to 255.
    """

    def __init__(self, std: float = 10.0) -> None:
        self.std = std

    def __call__(self, images: Tensor) -> Tensor:
        noise = self.std * torch.randn(images.shape, device=images.device)
        return (images + noise).clamp(0, 255).round().to(images.dtype)


class Cutout(IntensityAugmentation):
    """Sets a random square of each image to zero (DeVries and Taylor 2017). Its center can be any pixel.

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


class ColorJitter(IntensityAugmentation):
    """Changes the brightness, contrast and saturation of each image, in this order.

    Each factor is sampled uniformly from [1 - x, 1 + x]. Brightness scales the values, contrast scales their distance
    from the mean gray value of the image, and saturation scales their distance from the gray value of the pixel, with
    the formulas of torchvision for uint8.

    Args:
        brightness: Largest distance of the brightness factor from 1, in [0, 1].
        contrast: Largest distance of the contrast factor from 1, in [0, 1].
        saturation: Largest distance of the saturation factor from 1, in [0, 1]. It has no effect on grayscale images.

    Raises:
        InputError: A number is outside [0, 1].
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
        mean = _to_gray(out).mean((2, 3), keepdim=True)
        out = (mean + contrast * (out - mean)).clamp(0, 255)
        gray = _to_gray(out)
        return (gray + saturation * (out - gray)).clamp(0, 255).round().to(images.dtype)


def _to_gray(images: Tensor) -> Tensor:
    """Return the luma of RGB images (ITU-R BT.601), otherwise the mean of the channels, `(N, 1, H, W)`."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)
    return (images * weights.view(3, 1, 1)).sum(1, keepdim=True)
