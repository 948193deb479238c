"""Images read from files, each brought to the same size and number of channels."""

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

# Pillow's readers for these suffixes, tried by content and not by suffix. Among its others, EPS starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
MAX_PIXELS = 89_478_485  # of an image in memory; Pillow warns of more

_LARGE = 2**24  # pixels
_large_image_lock = threading.Lock()


def open_image(file: BinaryIO, formats: tuple[str, ...] = FORMATS, size: tuple[int, int] | None = None) -> Image.Image:
    """Open an image without decoding it yet.

    Args:
        file: The file.
        formats: Pillow's names of the formats to try.
        size: Width and height that are enough. A JPEG is decoded at a half, a quarter or an eighth of its size where
            that still has them, which is far faster for photographs.

    Raises:
        BrokenFileError: More pixels than an image in memory may have.
    """
    try:
        image = Image.open(file, formats=formats)
        if size is not None:
            image.draft(None, size)
        width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"too many pixels; expected at most {MAX_PIXELS:,}") from error
    if width * height > MAX_PIXELS:
        raise BrokenFileError(f"{width} x {height} pixels; expected at most {MAX_PIXELS:,}")
    return image


class ImageFiles:
    """Images on disk that are indexed as if they were the uint8 tensor `(files, channels, height, width)`. What is
    transparent shows white.

    Args:
        files: The files.
        shape: Channels, height and width that each is brought to: grey if there is one channel, else coloured.
        white: The largest value, that of white.

    Attributes:
        digests: Digest of the content of each file that has been read.
    """

    def __init__(self, files: list[Path], shape: tuple[int, int, int], white: int = 255) -> None:
        self.files = files
        self.shape = (len(files), *shape)
        self.white = white
        self.digests = np.zeros(len(files), np.uint64)

    @property
    def num_bytes(self) -> int:
        """Of all of them in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Tensor) -> Tensor:
        """One image for a single index, a batch for several."""
        images = [self._read_again(i) for i in index.flatten().tolist()]
        return torch.stack(images).view(*index.shape, *self.shape[1:])

    def _read_again(self, index: int) -> Tensor:
        try:
            return self.read(index)
        except BrokenFileError as error:
            raise InputError(f"{self.files[index]} no longer can be read: {error}") from error

    def read(self, index: int) -> Tensor:
        """One image, `(channels, height, width)`.

        Raises:
            BrokenFileError: It cannot be decoded.
        """
        _, channels, height, width = self.shape
        content = read_content(self.files[index])
        self.digests[index] = xxh3_64_intdigest(content)
        try:
            with (
                open_image(io.BytesIO(content), size=(2 * width, 2 * height)) as opened,
                # Read by as many threads as there are processors, large images would fill the memory together.
                _large_image_lock if opened.width * opened.height > _LARGE else nullcontext(),
            ):
                image = ImageOps.exif_transpose(opened)
                # Greys of 16 bits, which `convert` would cut off at 255; those of a .pgm are put into 32.
                if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PPM"):
                    image = image.point(lambda value: value * (1 / 256)).convert("L")
                elif image.mode in ("I", "F"):
                    raise BrokenFileError("greys of 32 bits, whose white is not known; save it with 8 or 16")
                if image.has_transparency_data:  # what `convert` would leave of it is the colour behind, often black
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
                pixels = torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1)
                return pixels if self.white == 255 else (pixels * (self.white / 255)).round().to(torch.uint8)
        except BrokenFileError:
            raise
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ... for a file that is broken.
        except Exception as error:
            raise BrokenFileError("no image, or a broken one" if _unknown(error) else str(error)) from error


def _unknown(error: Exception) -> bool:
    return type(error).__name__ == "UnidentifiedImageError"
