"""Read images together with their masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh3_64_intdigest

from litnets.data.core.class_folders import BrokenFileError, read_all
from litnets.data.core.fingerprint import Digests
from litnets.data.images.crops import MaskedImages, channel_sums
from litnets.data.images.full_size import FullSizeImages
from litnets.data.images.masks import MaskReader, MaskValues
from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable

ChooseValues = Callable[[NDArray[np.int64], Sequence[Path]], MaskValues]


@dataclass(frozen=True)
class LabeledImages:
    """Images with masks that were read from files.

    Args:
        pairs: The images and masks, with their classes.
        usable: Whether each image can be read and has a labeled pixel, `(images,)`.
        contents: Digest of each image and its mask, `(images,)`.
        image_contents: Digest of each image, `(images,)`.
        values: The values of the classes in the files.
    """

    pairs: MaskedImages
    usable: Tensor
    contents: Digests
    image_contents: Digests
    values: MaskValues

    @classmethod
    def read(
        cls,
        images: FullSizeImages,
        masks: list[Path],
        reader: MaskReader,
        choose_values: ChooseValues,
        *,
        channels: int,
        memory: float,
        skip_broken: bool,
    ) -> "LabeledImages":
        """Read all files, and replace the values in the masks by classes.

        Args:
            images: The images.
            masks: The file of the mask of each image.
            reader: Reads a mask.
            choose_values: Takes the number of pixels of each value in each mask, `(masks, 256)`, and the files of the
                masks. Returns the values of the classes, or raises InputError.
            channels: Number of channels of an image.
            memory: Memory for the masks, in bytes.
            skip_broken: Whether to skip an image if it or its mask cannot be read, or if their sizes differ.

        Raises:
            InputError: An image or a mask cannot be read, or their sizes differ; no mask has a labeled pixel.
        """
        size = len(masks)
        mask_images = FullSizeImages(masks, reader, memory)
        sizes, sums = torch.ones(size, 2, dtype=torch.long), torch.zeros(size, 2, channels, dtype=torch.float64)
        counts, (contents, image_contents) = np.zeros((size, 256), np.int64), np.zeros((2, size), np.uint64)

        def read(index: int) -> None:
            image = images.load(index)
            try:
                mask = mask_images.load(index)
            except BrokenFileError as error:
                raise BrokenFileError(f"its mask {masks[index]}: {error}") from error
            if mask.shape != image.shape[1:]:
                raise BrokenFileError(
                    f"{format_size(image.shape[1:])} pixels, but its mask {masks[index]} has {format_size(mask.shape)}"
                )
            sizes[index], sums[index] = torch.tensor(mask.shape), channel_sums(image)
            counts[index] = mask.flatten().bincount(minlength=256).numpy()
            image_contents[index] = _digest(image)
            contents[index] = _digest(mask, seed=int(image_contents[index]))

        _, broken = read_all(images.files, read, skip_broken, "image")
        values = choose_values(counts, masks)
        # From here on, the reader returns classes. The masks in memory still hold the values in the files.
        reader.lookup = values.lookup
        mask_images.cache = {index: reader.encode(mask) for index, mask in mask_images.cache.items()}
        class_counts = torch.from_numpy(counts[:, values.values])
        usable = ~broken & class_counts.any(1)
        unlabeled = (~broken & ~usable).nonzero().flatten().tolist()
        _report_unlabeled([masks[index] for index in unlabeled], size - int(broken.sum()))
        return cls(
            MaskedImages(images, mask_images, sizes, sums, class_counts), usable, contents, image_contents, values
        )


def format_size(size: Sequence[int]) -> str:
    """Return height and width as people write them: `640 x 480`, the width first."""
    height, width = size
    return f"{width} x {height}"


def _digest(pixels: Tensor, seed: int = 0) -> int:
    return xxh3_64_intdigest(np.ascontiguousarray(pixels.numpy()).data, seed)


def _report_unlabeled(unlabeled: Sequence[Path], num_masks: int) -> None:
    """Print the masks without a labeled pixel.

    Args:
        unlabeled: These masks.
        num_masks: Number of all masks that can be read.

    Raises:
        InputError: No mask has a labeled pixel.
    """
    if not unlabeled:
        return
    shown = printable(abbreviate([str(mask) for mask in unlabeled], 3))
    if len(unlabeled) == num_masks:
        raise InputError(f"none of the {num_masks} masks has a labeled pixel ({shown})\n  check --data.ignore_value")
    print(f"{len(unlabeled)} of {num_masks} masks left out: no labeled pixel ({shown})", flush=True)
