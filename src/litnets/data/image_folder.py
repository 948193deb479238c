"""ImageFolder: the user's own images, in a folder for each class."""

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from litnets.data.batches import ArrayDataset, smallest_type
from litnets.data.datamodule import ImageDataModule, check_new_shape
from litnets.data.folders import BrokenFileError, ClassFolders, check_classes, names_in, new_files, read_all
from litnets.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


class ImageFolder(ImageDataModule):
    """Your own images in a folder for each class: `root/class/*.jpg`, which is split, or
    `root/{train,val,test}/class/*.jpg`, where val and test are cut from train if they are not there.

    Each image is turned upright as its camera noted, cropped around its centre to the shape of `size`, resized, and
    kept in memory as uint8. If all of them together are more than `memory_budget`, each batch reads its own anew (set
    `num_workers` to about the number of processors), and the batches are the same. Either way all are decoded once
    before training, so that a broken one is found then and not hours later.

    Args:
        root: The folder.
        size: Side of the square that images are resized to, or [height, width], in pixels.
        grey: Make one channel of the colours.
        val_size: Validation split, a share or a number of images.
        test_size: Test split, a share or a number of images.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold, or if there is a folder
            `test`, the validation split.
        fold: The fold that is held out, from 0.
        skip_broken: Leave out images that cannot be read, and say which, instead of stopping.
        memory_budget: Gigabytes (10^9 bytes) that the images may take in memory.
        predict_path: New images for `predict`: a folder of them, at any depth, or a single one; no classes are needed.
            The folder of the training is not read then.
        **images: Arguments of `ImageDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        size: int | list[int] = 64,
        grey: bool = False,
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        skip_broken: bool = False,
        memory_budget: float = 2.0,
        predict_path: str | None = None,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        sides = [size, size] if isinstance(size, int) else size
        if len(sides) != 2 or min(sides) < 1:
            raise InputError(f"size: expected the side of a square or [height, width], in pixels, got {size}")
        self.split = (val_size, test_size, split_seed, num_folds, fold)
        self.skip_broken, self.memory_budget = skip_broken, memory_budget
        self.root = Path(root)
        self.input_shape = (1 if grey else 3, sides[0], sides[1])
        self.predict_path = None if predict_path is None else Path(predict_path)

    @cached_property
    def folders(self) -> ClassFolders:
        """What is there to learn from."""
        return ClassFolders.listed(self.root, SUFFIXES, "image")

    @property
    def class_names(self) -> list[str]:
        return self.folders.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, ArrayDataset]:
        folders = self.folders
        splits = folders.split(*self.split)
        inputs, broken, moments = self._read(folders.files)
        splits = folders.without(broken, splits)
        if moments is not None and not self.mean:  # ImageDataModule would read all a second time to know them
            mean, square = moments[splits["train"]].mean(0)
            std = (square - mean.square()).clamp(min=0).sqrt()
            self.mean, self.std = mean.tolist(), torch.where(std > 1e-6, std, 1.0).tolist()
        targets = folders.targets.to(smallest_type(int(folders.targets.max()) + 1))
        return {name: ArrayDataset(inputs, targets, indices) for name, indices in splits.items()}

    def load_new(self, path: Path) -> ArrayDataset:
        if not self.mean:  # no checkpoint
            self.setup()
        files = new_files(path, SUFFIXES, "image")
        inputs, broken, _ = self._read(files)
        found = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in found.tolist()])
        return ArrayDataset(inputs, torch.zeros(len(files), dtype=torch.uint8), found)

    def _read(self, files: list[Path]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The images, in memory if they fit; a flag for each that is broken, `(files,)`; and, if they do not fit, mean
        and mean square of each one's channels, `(files, 2, channels)`."""
        images = ImageFiles(files, cast(tuple[int, int, int], self.input_shape))
        fits = images.num_bytes <= self.memory_budget * 1e9
        kept = torch.empty(images.shape if fits else (0,), dtype=torch.uint8)
        moments = torch.zeros(len(files), 2, images.shape[1], dtype=torch.float64)

        def read(index: int) -> None:
            image = images.read(index)
            if fits:
                kept[index] = image
            else:
                values = image.flatten(1).double()
                moments[index] = torch.stack([values.mean(1), values.square().mean(1)])

        _, broken = read_all(files, read, self.skip_broken, "image")
        # ImageFiles is indexed like a tensor, and an ArrayDataset asks no more of it.
        return (kept, broken, None) if fits else (cast(Tensor, images), broken, moments)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        check_new_shape(self, state_dict)
        super().load_state_dict(state_dict)


class ImageFiles:
    """Images on disk that are indexed as if they were the uint8 tensor `(files, channels, height, width)`."""

    def __init__(self, files: list[Path], shape: tuple[int, int, int]) -> None:
        self.files = files
        self.shape = (len(files), *shape)

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
        try:
            with Image.open(self.files[index]) as opened:
                # JPEG can be decoded at a half, a quarter ... of its size, which is far faster for photographs.
                opened.draft(None, (2 * width, 2 * height))
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I;16"):  # greys of 16 bits, which `convert` would cut off at 255
                    image = image.point(lambda value: value * (1 / 256)).convert("L")
                image = image.convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
                return torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1)
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ... for a file that is broken.
        except Exception as error:
            raise BrokenFileError("no image, or a broken one" if _unknown(error) else str(error)) from error


def _unknown(error: Exception) -> bool:
    return type(error).__name__ == "UnidentifiedImageError"
