"""Shapes: synthetic images of circles, squares and triangles, to segment."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.new_samples import Split
from litnets.data.core.splits import split_indices
from litnets.data.images.crops import MaskedImages
from litnets.data.images.segmentation import SegmentationDataModule

# The corners of a color cube: each color is far from every other.
_COLORS = torch.tensor([[r, g, b] for r in (50, 205) for g in (50, 205) for b in (50, 205)], dtype=torch.float32)
_NUM_SHAPES = 4  # in an image
_VISIBLE = 0.5  # smallest visible fraction of a shape; with less, it could not be recognized and is left out
_CHUNK = 64  # images that are generated together, few enough to stay in the CPU cache


class Shapes(SegmentationDataModule):
    """Circles, squares and triangles that overlap, in noise; the class of a pixel is that of its shape.

        litnets fit --model UNetSegmenter --data Shapes

    Each image has up to four shapes with random positions and rotations, all in different colors on a background of
    another color. Colors do not depend on the class, and all kinds of shapes have the same mean area. So the color of a
    pixel does not reveal its class; only its surroundings do. The images are generated from a fixed seed and are the
    same every time.

    Args:
        samples: Number of images.
        size: Height and width of an image, in pixels.
        noise: Standard deviation of the noise on each value, from 0 to 255.
        **images: Arguments of `SegmentationDataModule`, `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    num_classes = 4
    class_names: ClassVar[list[str]] = ["background", "circle", "square", "triangle"]

    def __init__(self, samples: int = 2800, size: int = 64, noise: float = 20.0, **images: Any) -> None:
        super().__init__(**images)
        self.samples, self.size, self.noise = samples, size, noise
        self.input_shape = (3, size, size)

    def load(self) -> dict[str, Split]:
        images, masks = generate_shapes(self.samples, self.size, self.noise)
        split = split_indices(None, self.samples, self.split_spec)
        splits = self.assign_splits(Fingerprint.of_verified(self.samples), lambda: split)
        return self.make_splits(MaskedImages.stacked(images, masks, self.num_classes), splits)


def generate_shapes(samples: int, size: int, noise: float) -> tuple[Tensor, Tensor]:
    """Return images, uint8 `(samples, 3, size, size)`, and their masks, uint8 `(samples, size, size)`.

    The first images are the same for any number of `samples`.
    """
    chunks = [_generate_chunk(start, size, noise) for start in range(0, samples, _CHUNK)]
    images, masks = (torch.cat(parts)[:samples] for parts in zip(*chunks, strict=True))
    return images, masks


def _generate_chunk(seed: int, size: int, noise: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(1, 4, (_CHUNK, _NUM_SHAPES), generator=generator)
    inside = _rasterize(kinds, size, generator)  # (N, shapes, H, W)
    # Later shapes hide earlier ones.
    hidden = torch.stack([inside[:, i + 1 :].any(1) for i in range(_NUM_SHAPES)], 1)
    visible = (inside & ~hidden).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
    inside &= (visible >= _VISIBLE)[:, :, None, None]

    palette = torch.rand(_CHUNK, len(_COLORS), generator=generator).argsort(1)[:, : _NUM_SHAPES + 1]
    colors = _COLORS[palette]  # (N, 1 + shapes, 3)
    masks = torch.zeros(_CHUNK, size, size, dtype=torch.uint8)
    layers = torch.zeros(_CHUNK, size, size, dtype=torch.long)
    for i in range(_NUM_SHAPES):
        masks = torch.where(inside[:, i], kinds[:, i, None, None].to(torch.uint8), masks)
        layers = torch.where(inside[:, i], i + 1, layers)
    images = colors[torch.arange(_CHUNK)[:, None, None], layers].movedim(3, 1)  # (N, 3, H, W)
    images += noise * torch.randn(images.shape, generator=generator)
    return images.clamp_(0, 255).round_().to(torch.uint8), masks


def _rasterize(kinds: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return which pixels lie inside shapes of random sizes, positions and rotations, `(N, shapes, size, size)`.

    Args:
        kinds: Class of each shape, `(N, shapes)`.
        size: Height and width of the image.
        generator: The source of the random numbers.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(*kinds.shape, 1, 1, generator=generator)

    radius, angle = uniform(0.14 * size, 0.2 * size), uniform(0, 2 * math.pi)
    grid = torch.arange(size) + 0.5
    down = grid.view(-1, 1) - uniform(0.15 * size, 0.85 * size)
    right = grid - uniform(0.15 * size, 0.85 * size)
    u, v = right * angle.cos() + down * angle.sin(), down * angle.cos() - right * angle.sin()
    # The distance from the center; for the square and the triangle, the largest one perpendicular to a side.
    circle = torch.hypot(u, v)
    square = torch.maximum(u.abs(), v.abs())
    triangle = torch.maximum(math.sqrt(0.75) * v.abs() + u / 2, -u)
    # The factors give the square and the triangle the area of a circle of this radius.
    kind = kinds[:, :, None, None]
    limit = radius * torch.where(kind == 2, math.sqrt(math.pi) / 2, math.sqrt(math.pi / math.sqrt(27)))
    return torch.where(kind == 1, circle <= radius, torch.where(kind == 2, square, triangle) <= limit)
