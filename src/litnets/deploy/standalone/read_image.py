"""Read an image file as in training: upright, on white if transparent, cropped to the shape of the training images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of the image and its uint8 pixels, `(channels, height, width)`; of any size for masks."""
    how = about["reading"]
    opened = Image.open(path)
    if "overlap" not in how:  # decodes a large JPEG at a fraction of its size
        opened.draft(None, (2 * how["width"], 2 * how["height"]))
    image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "IF":
        raise SystemExit(f"{path}: more than 8 bits per channel; convert it to 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if how["channels"] == 1 else "RGB")
    if "overlap" not in how:
        image = ImageOps.fit(image, (how["width"], how["height"]), Image.Resampling.BICUBIC)
    pixels = np.array(image).reshape(image.height, image.width, how["channels"]).transpose(2, 0, 1)
    yield path, np.rint(pixels * (how["white"] / 255)).astype(np.uint8)
