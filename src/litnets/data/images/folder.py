"""ImageFolder: your images, in one folder per class."""

from functools import cached_property
from pathlib import Path
from typing import Any

from litnets.data.core.base import SplitDataModule, check_new_shape
from litnets.data.core.batching import ArrayDataset, smallest_type
from litnets.data.core.class_folders import ClassFolders, check_classes
from litnets.data.core.scaling import replace_zero_std
from litnets.data.images.base import ImageDataModule
from litnets.data.images.decoding import SUFFIXES
from litnets.errors import InputError


class ImageFolder(SplitDataModule, ImageDataModule):
    """Your images, in one folder per class.

        litnets fit --model CNNClassifier --data ImageFolder --data.root pets --data.size 64

    Images in `root/class/*.jpg` are split into training, validation and test. Alternatively, the splits are the folders
    `root/{train,val,test}/class/*.jpg`; if val or test does not exist, the split is taken from train.

    Each image is rotated by its EXIF orientation, placed on a white background if it is transparent, center-cropped to
    the aspect ratio of `size`, resized, and kept in memory as uint8. If the images do not fit in `memory_budget`, each
    batch reads its images from disk instead; then set `num_workers` to about the number of CPU cores. The batches are
    the same either way. All images are decoded once before training, so that a broken file is reported immediately.

    Args:
        root: Folder of the images.
        size: Side length of the square that images are resized to, or [height, width], in pixels.
        grey: Convert images to grayscale (one channel) instead of RGB.
        memory_budget: Memory for the images, in gigabytes (10^9 bytes).
        **images: Arguments of `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        size: int | list[int] = 64,
        grey: bool = False,
        memory_budget: float = 2.0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        sides = [size, size] if isinstance(size, int) else size
        if len(sides) != 2 or min(sides) < 1:
            raise InputError(f"size: expected the side length of a square or [height, width], in pixels, got {size}")
        self.root, self.memory_budget = Path(root), memory_budget
        self.input_shape = (1 if grey else 3, sides[0], sides[1])

    @cached_property
    def folders(self) -> ClassFolders:
        """The files in `root`, listed on first use."""
        return ClassFolders.scan(self.root, SUFFIXES, "image")

    @property
    def class_names(self) -> list[str]:
        return self.folders.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, ArrayDataset]:
        folders = self.folders
        if self.recorded_split is None:
            folders.split(self.split_spec)  # raises an error for invalid sizes before all files are read
        inputs, broken, moments, contents = self.read_files(folders.files)
        splits = self.assign_splits(
            folders.fingerprint(contents),
            lambda: folders.split(self.split_spec),
            folders.fixed_splits(self.split_spec),
            ~broken,
        )
        folders.check_trained_on(splits["train"])
        if moments is not None and "mean" not in vars(self):  # avoids reading all images again
            mean, square = moments[splits["train"]].mean(0)
            std = (square - mean.square()).clamp(min=0).sqrt()
            self.mean, self.std = mean.tolist(), replace_zero_std(std, threshold=1e-6)
        targets = folders.targets.to(smallest_type(int(folders.targets.max()) + 1))
        return {name: ArrayDataset(inputs, targets, indices) for name, indices in splits.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        check_new_shape(self, state_dict)
        super().load_state_dict(state_dict)
