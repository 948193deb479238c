"""Find the images of a data set for segmentation, and the mask of each."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from litnets.data.core.class_folders import check_linked_once
from litnets.data.core.groups import name_groups
from litnets.data.core.listing import check_twins, linked_files_in, real_files_in, subfolders
from litnets.data.core.predefined_splits import find_splits
from litnets.data.images import decoding, masks
from litnets.data.images.crops import IGNORE_INDEX
from litnets.data.images.masks import Color
from litnets.errors import InputError, abbreviate, first_duplicate
from litnets.safety.files import open_regular

_WITH_COLOR = re.compile(r"(.*[^\s,])[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")


@dataclass(frozen=True)
class MaskFiles:
    """The images in `root/images` and their masks in `root/masks`, which have the same names.

    If there are splits (see `find_splits`), they are `root/train/images`, `root/train/masks` ... or
    `root/images/train`, `root/masks/train` ...

    Args:
        root: The folder.
        images: All images, sorted by split and path.
        masks: The mask of each image.
        parts: Indices of the images of each split that has folders; empty if there are no splits.
    """

    root: Path
    images: list[Path]
    masks: list[Path]
    parts: dict[str, Tensor]

    @classmethod
    def scan(cls, root: Path, mask_suffix: str = "") -> "MaskFiles":
        """List the files of a folder without opening them.

        Args:
            root: The folder.
            mask_suffix: End of the name of each mask: `_mask` if the mask of `a.jpg` is `a_mask.png`.

        Raises:
            InputError: A folder does not exist, cannot be read, or is empty; an image has no mask or several; a mask
                has no image, or is a JPEG or WebP file.
        """
        if not root.is_dir():
            problem = "is a file, not a folder" if root.exists() else "does not exist"
            raise InputError(f"{root} {problem}; set --data.root to a folder that has the folders images and masks")
        try:
            return cls._scan(root, mask_suffix)
        except OSError as error:
            raise InputError(f"{root}: the folder cannot be read: {error}") from error

    @classmethod
    def _scan(cls, root: Path, mask_suffix: str) -> "MaskFiles":
        images: dict[Path, str] = {}
        paired: list[Path] = []
        parts: dict[str, Tensor] = {}
        for part, (image_folder, mask_folder) in _find_folders(root).items():
            start = len(images)
            found = real_files_in(image_folder, decoding.SUFFIXES, root)
            if not found:
                raise InputError(f"{image_folder} contains no image ({', '.join(sorted(decoding.SUFFIXES))})")
            paired += _pair(list(found), image_folder, mask_folder, mask_suffix)
            images |= found
            parts[part] = torch.arange(start, len(images))
        check_linked_once(images)
        return cls(root, list(images), paired, {} if "" in parts else parts)

    def name_groups(self, pattern: str) -> Tensor:
        """Return the group of each image, by its path in the folder of the images; see `litnets.data.core.groups`."""
        return name_groups(self.images, len(self.root.parts) + (2 if self.parts else 1), pattern)


def _find_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of the images and masks of each split; the only key is "" if there are no splits."""
    if splits := find_splits(root):
        folders = {part: (folder / "images", folder / "masks") for part, folder in splits.items()}
    elif (root / "images").is_dir() and (splits := find_splits(root / "images")):
        folders = {part: (folder, root / "masks" / folder.name) for part, folder in splits.items()}
    else:
        folders = {"": (root / "images", root / "masks")}
    for folder in (folder for pair in folders.values() for folder in pair):
        if not folder.is_dir():
            others = subfolders(folder.parent) if folder.parent.is_dir() else []
            found = f"has only the folders {abbreviate(others, 5)}" if others else "has no subfolder"
            raise InputError(
                f"{folder.parent} {found}; expected the folder {folder.name} in it\n"
                "  each image in the folder images needs a mask of the same name in the folder masks"
            )
    return folders


def _pair(images: Sequence[Path], image_folder: Path, mask_folder: Path, mask_suffix: str) -> list[Path]:
    """Return the mask of each image."""
    files = list(linked_files_in(mask_folder, masks.SUFFIXES | masks.LOSSY_SUFFIXES))  # images may share a mask
    by_name = _by_name(images, image_folder)
    masks_by_name = _by_name(files, mask_folder)
    expected = {f"{name}{mask_suffix}": image for name, image in by_name.items()}
    without_mask = [name for name in expected if name not in masks_by_name]
    if without_mask:
        name = without_mask[0]
        raise InputError(
            f"{len(without_mask)} of {len(images)} images have no mask, the first is {expected[name]}\n"
            f"  expected {mask_folder / name}.png{_hint(name, masks_by_name)}"
        )
    without_image = [path for name, path in masks_by_name.items() if name not in expected]
    if without_image:
        raise InputError(
            f"{len(without_image)} of {len(files)} masks have no image, the first is {without_image[0]}\n"
            f"  expected an image of the same name in {image_folder}; add it or remove the mask"
        )
    lossy = [path for path in files if path.suffix.lower() in masks.LOSSY_SUFFIXES]
    if lossy:
        raise InputError(
            f"{len(lossy)} of {len(files)} masks are JPEG or WebP files, the first is {lossy[0]}\n"
            "  their compression changes values; save masks as PNG"
        )
    return [masks_by_name[name] for name in expected]


def _by_name(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Return the files by their paths in a folder, without suffixes."""
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
        if other != file:
            raise InputError(f"{other} and {file} differ only in their suffixes; rename or remove one of them")
    return by_name


def _hint(name: str, candidates: Mapping[str, Path]) -> str:
    """Return how the name of a mask differs from the expected one, or an empty string."""
    for candidate, path in candidates.items():
        if candidate.lower() == name.lower():
            return f"; {path} differs only in case"
        if candidate.startswith(name):
            return f"; if {path} is the mask, set --data.mask_suffix {candidate.removeprefix(name)}"
    return ""


def read_class_names(path: Path) -> tuple[list[str], list[Color] | None] | None:
    """Return the class names in a file, and the colors if it lists them; return None if the file does not exist.

    A line is the name of a class, or its name and its color, such as `road 128 64 128`.

    Raises:
        InputError: The file cannot be read; a name or color occurs twice; two names look the same; a name contains a
            control character; only some classes have colors; a color or the number of classes is out of range.
    """
    if not path.exists():
        return None
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    lines = [line.strip() for line in lines if line.strip()]
    matches = [_WITH_COLOR.fullmatch(line) for line in lines]
    names = [match[1].strip() if match else line for match, line in zip(matches, lines, strict=True)]
    colors = [(int(match[2]), int(match[3]), int(match[4])) for match in matches if match]
    repeated = first_duplicate(names) or first_duplicate(map(str, colors))
    if repeated is not None:
        raise InputError(f"{path}: {repeated} occurs twice; expected one class per line")
    check_twins(path, names)
    unprintable = [name for name in names if any(unicodedata.category(character) == "Cc" for character in name)]
    if unprintable:
        raise InputError(f"{path}: {unprintable[0]!r} contains a control character; expected one class per line")
    if colors and len(colors) < len(names):
        without = next(line for match, line in zip(matches, lines, strict=True) if not match)
        raise InputError(f"{path}: {without} has no color, but others do; expected `name red green blue` in each line")
    if any(value > 255 for color in colors for value in color):
        raise InputError(f"{path}: expected colors from 0 to 255")
    if not 2 <= len(names) <= IGNORE_INDEX:
        raise InputError(f"{path}: expected 2 to {IGNORE_INDEX} classes, one per line, got {len(names)}")
    return names, colors or None
