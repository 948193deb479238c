"""Read masks from files, and encode their values as classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError, read_content
from litnets.data.images.crops import IGNORE_INDEX
from litnets.data.images.decoding import MAX_PIXELS, decode
from litnets.errors import InputError, abbreviate

SUFFIXES = frozenset({".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp"})

_MAX_UNNAMED = 64  # classes without names; masks with more values than this are likely photos

Color = tuple[int, int, int]


@dataclass(frozen=True)
class MaskValues:
    """The classes of masks, and the values in files that stand for them.

    Args:
        class_names: Names of the classes.
        values: Value of each class, from 0 to 255.
        ignore_value: Value of the pixels that are not labeled; None if all are.
        colors: Color of each class, if the masks are colored; the value of a class is then its index.
    """

    class_names: list[str]
    values: list[int]
    ignore_value: int | None = IGNORE_INDEX
    colors: list[Color] | None = None

    @classmethod
    def numbered(cls, class_names: list[str], ignore_value: int = IGNORE_INDEX) -> "MaskValues":
        """Return the values 0, 1, 2 ... without `ignore_value`."""
        values = [value for value in range(256) if value != ignore_value]
        return cls(class_names, values[: len(class_names)], ignore_value)

    @classmethod
    def infer(
        cls,
        counts: NDArray[np.int64],
        files: Sequence[Path],
        class_names: list[str] | None = None,
        ignore_value: int | None = None,
        colors: list[Color] | None = None,
    ) -> "MaskValues":
        """Infer the values of the classes of a data set, and check that no mask has any other value.

        Masks that contain only 0 and 255 are black and white, unless `ignore_value` is set. Otherwise, the
        classes have the values 0, 1, 2 ... without `ignore_value`.

        Args:
            counts: Number of pixels of each value in each mask, `(masks, 256)`.
            files: The masks.
            class_names: Names of the classes; None to take the classes from the values in the masks.
            ignore_value: Value of the pixels that are not labeled; None for 255 or, in black and white masks, none.
            colors: Color of each class, if the masks are colored.

        Raises:
            InputError: A mask has a value that is not a class; `ignore_value` is one; or, without names,
                there are fewer than two classes, too many, or a gap in their values.
        """
        if class_names is not None and colors is not None:
            if ignore_value is not None and ignore_value < len(class_names):
                raise InputError(
                    f"ignore_value: {ignore_value} is the number of the class {class_names[ignore_value]} in "
                    "class_names.txt; choose a value that is not a class"
                )
            encoding = cls(class_names, list(range(len(class_names))), ignore_value, colors)
            encoding.check(counts, files)  # masks without colors hold numbers
            return encoding
        present = counts.sum(0).nonzero()[0].tolist()
        is_black_and_white = ignore_value is None and 255 in present and set(present) <= {0, 255}
        if is_black_and_white and (class_names is None or len(class_names) == 2):
            return cls(class_names or ["background", "foreground"], [0, 255], None)
        ignored = IGNORE_INDEX if ignore_value is None else ignore_value
        if class_names is None:
            class_names = _number_classes([value for value in present if value != ignored], ignored, counts, files)
        encoding = cls.numbered(class_names, ignored)
        encoding.check(counts, files)
        return encoding

    def check(self, counts: NDArray[np.int64], files: Sequence[Path]) -> None:
        """Raise InputError if a mask has a value that is not a class; see `infer` for the arguments."""
        known = [*self.values, *([] if self.ignore_value is None else [self.ignore_value])]
        unknown = counts.copy()
        unknown[:, known] = 0
        wrong = unknown.sum(1).nonzero()[0]
        if len(wrong):
            values = unknown[wrong[0]].nonzero()[0].tolist()
            named = (
                f"{self.values[0]} to {self.values[-1]}"
                if len(self.values) > 2
                else " and ".join(map(str, self.values))
            )
            ignored = "" if self.ignore_value is None else f", {self.ignore_value} for pixels that are not labeled"
            raise InputError(
                f"{files[wrong[0]]} has the value{'s' * (len(values) > 1)} {abbreviate([str(v) for v in values], 5)}"
                f"{f' (one of {len(wrong)} masks with such values)' if len(wrong) > 1 else ''}\n"
                f"  expected {named} for the classes {abbreviate(self.class_names, 5)}{ignored}; "
                "resize masks only with nearest-neighbor interpolation"
            )

    @property
    def lookup(self) -> NDArray[np.uint8]:
        """The class of each value, `(256,)`; `IGNORE_INDEX` for the values without one."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[self.values] = np.arange(len(self.values))
        return table


def _number_classes(present: list[int], ignored: int, counts: NDArray[np.int64], files: Sequence[Path]) -> list[str]:
    """Return names for the classes of masks that come without names.

    Args:
        present: The values in the masks except `ignored`, in ascending order.
        ignored: Value of the pixels that are not labeled.
        counts: Number of pixels of each value in each mask, `(masks, 256)`.
        files: The masks.

    Raises:
        InputError: There are fewer than two classes, too many, or a gap in their values.
    """
    if len(present) < 2:
        found = f"only the value {present[0]}" if present else "no labeled pixel"
        raise InputError(
            f"{files[0].parent}: {found} in {len(files)} masks, besides {ignored} for pixels that are not labeled; "
            "expected at least two classes"
        )
    if len(present) > _MAX_UNNAMED:
        first = int((counts > 0).sum(1).argmax())
        raise InputError(
            f"{files[first]} and the other masks have {len(present)} different values\n"
            "  are they photos, or were they resized? If these are classes, list them in class_names.txt, one per line"
        )
    values = [value for value in range(present[-1] + 1) if value != ignored]
    missing = sorted(set(values) - set(present))
    if missing:
        first = int(counts[:, present[-1]].argmax())
        raise InputError(
            f"{files[first]} has the value {present[-1]}, but no mask has {abbreviate([str(v) for v in missing], 5)}\n"
            "  number the classes consecutively, or list them in class_names.txt, one name per line"
        )
    return ["background", "foreground"] if len(values) == 2 else [str(value) for value in values]


@dataclass
class MaskReader:
    """Reads masks, and encodes their values.

    Args:
        max_pixels: Number of pixels of the largest mask that may be decoded.
        colors: Color of each class in colored masks; None if the masks are not colored.
        lookup: The class that replaces each value, `(256,)`. Default: the value itself.
    """

    max_pixels: int = MAX_PIXELS
    colors: list[Color] | None = None
    lookup: NDArray[np.uint8] = field(default_factory=lambda: np.arange(256, dtype=np.uint8))

    def __call__(self, path: Path) -> Tensor:
        """Return a mask, uint8 `(H, W)`.

        Raises:
            BrokenFileError: The file cannot be decoded, or does not hold an 8-bit number or a known color per pixel.
        """
        with decode(read_content(path), self.max_pixels) as opened:
            if opened.format in ("JPEG", "WEBP"):
                raise BrokenFileError(f"{opened.format} compression changes values; save masks as PNG")
            values = _values(ImageOps.exif_transpose(opened), self.colors)
        return self.encode(torch.from_numpy(values))

    def encode(self, mask: Tensor) -> Tensor:
        """Return a mask with its values replaced by `lookup`, uint8 `(H, W)`."""
        return torch.from_numpy(self.lookup[mask.numpy()])


def _values(image: Image.Image, colors: list[Color] | None) -> NDArray[np.uint8]:
    """Return the values of a mask: color indices for an RGB image with `colors`, otherwise the numbers it holds."""
    if image.mode in ("1", "L", "P"):
        return np.array(image, np.uint8)
    if image.mode[0] == "I":
        raise BrokenFileError("more than 8 bits per pixel; save the number of the class, up to 254, in 8 bits")
    if image.mode == "F":
        raise BrokenFileError("floats; save the number of the class in 8 bits")
    channels = np.array(image if image.mode in ("LA", "RGB", "RGBA") else image.convert("RGB"))
    if image.mode == "LA" or (colors is None and (channels[:, :, :1] == channels[:, :, 1:3]).all()):
        return np.array(channels[:, :, 0], np.uint8)
    if colors is None:
        raise BrokenFileError(
            "colors instead of class numbers; add the color of each class to class_names.txt, such as `road 128 64 128`"
        )
    return _indices_of(channels[:, :, :3], colors)


def _indices_of(pixels: NDArray[np.uint8], colors: list[Color]) -> NDArray[np.uint8]:
    """Return the index of the color of each pixel, for pixels `(H, W, 3)`."""
    codes, class_codes = _color_codes(pixels), _color_codes(np.array(colors))
    order = class_codes.argsort()
    indices = order[class_codes[order].searchsorted(codes).clip(max=len(class_codes) - 1)]
    unknown = class_codes[indices] != codes
    if unknown.any():
        color = tuple(pixels[unknown][0].tolist())
        raise BrokenFileError(f"the color {color} of {int(unknown.sum())} pixels is not in class_names.txt")
    return np.asarray(indices, np.uint8)


def _color_codes(colors: NDArray[Any]) -> NDArray[np.int64]:
    """Return one number for each color `(..., 3)`."""
    codes: NDArray[np.int64] = colors.astype(np.int64) @ np.array([2**16, 2**8, 1])
    return codes
