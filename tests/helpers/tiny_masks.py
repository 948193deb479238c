"""Tiny data sets for segmentation in the real on-disk formats."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]

# Height and width.
SIZES = [(23, 31), (9, 40), (16, 12), (33, 27), (50, 50), (16, 25), (15, 25), (40, 33), (17, 24), (20, 20)]


def image_and_mask(number: int, height: int, width: int, num_classes: int = 3) -> tuple[Bytes, Bytes]:
    """Return an image `(height, width, 3)` and its mask: stripes of classes that shift with the number."""
    rows, columns = np.mgrid[:height, :width]
    mask = ((columns // 3 + number) % num_classes).astype(np.uint8)
    image = np.stack([rows, columns, np.full_like(rows, 10 * number)], 2).astype(np.uint8)
    image[..., 2] += mask
    return image, mask


def write_masked_images(
    root: Path,
    sizes: Sequence[tuple[int, int]] = SIZES,
    values: Sequence[int] = (0, 1, 2),
    mask_suffix: str = "",
    start: int = 0,
) -> None:
    """Write `root/images/*.png` and `root/masks/*.png`; `values` are those of the classes."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes, start):
        image, mask = image_and_mask(number, *size, num_classes=len(values))
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(np.array(values, np.uint8)[mask]).save(root / "masks" / f"{number}{mask_suffix}.png")
