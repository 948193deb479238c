"""Read image files and convert them to one size and number of channels."""

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from xxhash import xxh3_64_intdigest

from litnets.data.core.class_folders import BrokenFileError, read_content
from litnets.errors import InputError
from litnets.safety.files import open_regular

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

# Pillow's readers for these suffixes. Pillow chooses one by content, and others are unsafe: EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
MAX_PIXELS = 89_478_485  # default size of the largest image to decode; Pillow warns above this

_LARGE = 2**24  # pixels; larger images are decoded one at a time
_large_image_lock = threading.Lock()
_limit_lock = threading.Lock()


def open_image(
    file: BinaryIO,
    formats: tuple[str, ...] = FORMATS,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image, int]:
    """Open an image without decoding it yet; return it and the number of pixels that decoding keeps in memory.

    Args:
        file: The file.
        formats: Pillow's names of the formats to try.
        size: Smallest width and height that are needed. A JPEG is decoded at a half, a quarter or an eighth of its size
            if that is still large enough, which is much faster for photographs.
        max_pixels: Number of pixels of the largest image that may be decoded.

    Raises:
        BrokenFileError: The image has more than `max_pixels` pixels.
    """
    hint = f"expected at most {max_pixels:,}; if you trust the image, raise --data.max_pixels"
    try:
        with _pillow_limit(max_pixels) if max_pixels > MAX_PIXELS else nullcontext():
            image = Image.open(file, formats=formats)
        full_size = image.size
        if size is not None:
            image.draft(None, size)
        # All of a progressive JPEG is kept, whatever size it is decoded at.
        width, height = full_size if image.info.get("progressive") else image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"too many pixels; {hint}") from error
    if width * height > max_pixels:
        raise BrokenFileError(f"{width} x {height} pixels; {hint}")
    return image, width * height


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the height and width in the header of an image file, before it is rotated by its EXIF orientation."""
    with open_regular(path) as file, open_image(file, max_pixels=max_pixels)[0] as image:
        return image.height, image.width


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow open larger images than by default. Its limit is a global variable, which other threads share."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


class ImageFiles:
    """Image files that are indexed like a uint8 tensor `(files, channels, height, width)`.

    Transparent pixels become white.

    Args:
        files: The files.
        shape: Channels, height and width that each image is converted to: grayscale for one channel, otherwise RGB.
        white: The pixel value of white, which is the largest value.
        value_range: See `to_pixels`.
        max_pixels: Number of pixels of the largest image that may be decoded.

    Attributes:
        digests: Digest of the content of each file that has been read, `(files,)`.
    """

    def __init__(
        self,
        files: list[Path],
        shape: tuple[int, int, int],
        white: int = 255,
        value_range: Sequence[float] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.files = files
        self.shape = (len(files), *shape)
        self.white = white
        self.value_range = value_range
        self.max_pixels = max_pixels
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
        with decode(content, self.max_pixels, size=(2 * width, 2 * height)) as opened:
            return to_pixels(opened, (channels, height, width), self.white, self.value_range)


@contextmanager
def decode(content: bytes, max_pixels: int = MAX_PIXELS, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """Open the content of an image file, which the body of the `with` statement decodes.

    Args:
        content: The content of the file.
        max_pixels: Number of pixels of the largest image that may be decoded.
        size: See `open_image`.

    Raises:
        BrokenFileError: The image cannot be decoded.
    """
    try:
        opened, pixels_in_memory = open_image(io.BytesIO(content), size=size, max_pixels=max_pixels)
        # One thread per CPU core reads images, and several large ones at once could exhaust the memory.
        with opened, _large_image_lock if pixels_in_memory > _LARGE else nullcontext():
            yield opened
    except BrokenFileError:
        raise
    # For a broken file, Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
    except Exception as error:
        raise BrokenFileError("not an image, or a broken one" if _is_unidentified(error) else str(error)) from error


def to_pixels(
    opened: Image.Image,
    shape: tuple[int, int | None, int | None],
    white: int = 255,
    value_range: Sequence[float] | None = None,
) -> Tensor:
    """Convert an image to uint8 pixels `(channels, height, width)`; see `ImageFiles`.

    Args:
        opened: The image, which may not be decoded yet. It is not changed.
        shape: Channels, height and width; None for the height and width of the image.
        white: The pixel value of white.
        value_range: Values of black and white in a grayscale image of 16 or 32 bits. Default: 0 and 65535 for integers,
            0 and 1 for floats.

    Raises:
        BrokenFileError: The values of a 32-bit image are outside the default range.
    """
    channels, height, width = shape
    image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "IF":  # I;16, I;16B, I;16L ..., I and F, whose values `convert` would clip at 255
        # Pillow reads the 16 bits of a .pgm file as 32 bits.
        has_16_bits = image.mode != "F" and (image.mode != "I" or opened.format == "PPM")
        image = Image.fromarray(_to_8_bits(np.asarray(image), has_16_bits, value_range))
    if image.has_transparency_data:  # `convert` would show the hidden color, which is often black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if width is not None and height is not None:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, channels).permute(2, 0, 1)
    return pixels if white == 255 else (pixels * (white / 255)).round().to(torch.uint8)


def is_single_color(pixels: Tensor) -> bool:
    """Return whether all pixels `(channels, height, width)` are the same."""
    values = pixels.numpy()
    if values[0, 0, 0] != values[0, values.shape[1] // 2, values.shape[2] // 2]:  # true of most images, and fast
        return False
    return bool((values == values[:, :1, :1]).all())


def _to_8_bits(values: NDArray[Any], has_16_bits: bool, value_range: Sequence[float] | None) -> NDArray[np.uint8]:
    """Return gray values of 16 or 32 bits as 0 to 255; see `to_pixels`."""
    if value_range is None and not has_16_bits:
        smallest, largest = values.min(), values.max()
        if values.dtype.kind == "f":
            is_clear, value_range = smallest >= 0 and largest <= 1, (0.0, 1.0)
        else:  # values up to 255 may be 8-bit values, or 16-bit values of a dark image
            is_clear = smallest >= 0 and (largest == 0 or 255 < largest <= 65535)
        if not is_clear:
            raise BrokenFileError(
                f"32-bit gray values from {smallest:g} to {largest:g}; set --data.value_range to those of black and "
                "white, such as [0, 255]"
            )
    if value_range is None:
        return (values >> 8).astype(np.uint8)
    if not np.isfinite(values).all():
        raise BrokenFileError("a gray value is not a number")
    black, white = value_range
    return np.rint(np.clip((values.astype(np.float64) - black) / (white - black), 0, 1) * 255).astype(np.uint8)


def _is_unidentified(error: Exception) -> bool:
    return type(error).__name__ == "UnidentifiedImageError"
