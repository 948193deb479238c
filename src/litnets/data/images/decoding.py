"""Read image files and convert them to one size and number of channels."""

import io
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from xxhash import xxh3_64_intdigest

from litnets.data.core.class_folders import BrokenFileError, read_content
from litnets.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

# Pillow's readers for these suffixes. Pillow chooses one by content, and others are unsafe: EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
MAX_PIXELS = 89_478_485  # largest image to decode; Pillow warns above this

_LARGE = 2**24  # pixels; larger images are decoded one at a time
_large_image_lock = threading.Lock()


def open_image(
    file: BinaryIO, formats: tuple[str, ...] = FORMATS, size: tuple[int, int] | None = None
) -> tuple[Image.Image, int]:
    """Open an image without decoding it yet; return it and the number of pixels that decoding keeps in memory.

    Args:
        file: The file.
        formats: Pillow's names of the formats to try.
        size: Smallest width and height that are needed. A JPEG is decoded at a half, a quarter or an eighth of its size
            if that is still large enough, which is much faster for photographs.

    Raises:
        BrokenFileError: The image has more than `MAX_PIXELS` pixels.
    """
    try:
        image = Image.open(file, formats=formats)
        full_size = image.size
        if size is not None:
            image.draft(None, size)
        # All of a progressive JPEG is kept, whatever size it is decoded at.
        width, height = full_size if image.info.get("progressive") else image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"too many pixels; expected at most {MAX_PIXELS:,}") from error
    if width * height > MAX_PIXELS:
        raise BrokenFileError(f"{width} x {height} pixels; expected at most {MAX_PIXELS:,}")
    return image, width * height


class ImageFiles:
    """Image files that are indexed like a uint8 tensor `(files, channels, height, width)`.

    Transparent pixels become white.

    Args:
        files: The files.
        shape: Channels, height and width that each image is converted to: grayscale for one channel, otherwise RGB.
        white: The pixel value of white, which is the largest value.

    Attributes:
        digests: Digest of the content of each file that has been read, `(files,)`.
    """

    def __init__(self, files: list[Path], shape: tuple[int, int, int], white: int = 255) -> None:
        self.files = files
        self.shape = (len(files), *shape)
        self.white = white
        self.digests = np.zeros(len(files), np.uint64)

    @property
    def num_bytes(self) -> int:
        """Size of all images in memory, in bytes."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Tensor) -> Tensor:
        """Read one image for a scalar index, a batch for a 1D index."""
        images = [self._read_again(i) for i in index.flatten().tolist()]
        return torch.stack(images).view(*index.shape, *self.shape[1:])

    def _read_again(self, index: int) -> Tensor:
        try:
            return self.read(index)
        except BrokenFileError as error:
            raise InputError(f"{self.files[index]} can no longer be read: {error}") from error

    def read(self, index: int) -> Tensor:
        """Read one image, `(channels, height, width)`.

        Raises:
            BrokenFileError: The image cannot be decoded.
        """
        _, channels, height, width = self.shape
        content = read_content(self.files[index])
        self.digests[index] = xxh3_64_intdigest(content)
        try:
            opened, pixels_in_memory = open_image(io.BytesIO(content), size=(2 * width, 2 * height))
            # One thread per CPU core reads images, and several large ones at once could exhaust the memory.
            with opened, _large_image_lock if pixels_in_memory > _LARGE else nullcontext():
                return to_pixels(opened, (channels, height, width), self.white)
        except BrokenFileError:
            raise
        # For a broken file, Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        except Exception as error:
            raise BrokenFileError("not an image, or a broken one" if _is_unidentified(error) else str(error)) from error


def to_pixels(opened: Image.Image, shape: tuple[int, int, int], white: int = 255) -> Tensor:
    """Convert an image to uint8 pixels `(channels, height, width)`; see `ImageFiles`.

    Args:
        opened: The image, which may not be decoded yet. It is not changed.
        shape: Channels, height and width.
        white: The pixel value of white.

    Raises:
        BrokenFileError: Its mode has no defined white.
    """
    channels, height, width = shape
    image = ImageOps.exif_transpose(opened)
    # `convert` would clip 16-bit gray values at 255. Pillow reads those of a .pgm file as 32-bit.
    if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PPM"):
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode in ("I", "F"):
        raise BrokenFileError("32-bit gray values have no defined white; save the image with 8 or 16 bits")
    if image.has_transparency_data:  # `convert` would show the hidden color, which is often black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1)
    return pixels if white == 255 else (pixels * (white / 255)).round().to(torch.uint8)


def _is_unidentified(error: Exception) -> bool:
    return type(error).__name__ == "UnidentifiedImageError"
