"""ImageFolder: your images, in one folder per class."""

import warnings
from typing import Any

from torch import Tensor

from litnets.data.core.batching import ArrayDataset, smallest_type
from litnets.data.core.class_folder_module import ClassFolderDataModule
from litnets.data.core.data_card import SliceValues, describe_numbers, sample_evenly
from litnets.data.core.new_samples import check_new_shape
from litnets.data.core.scaling import replace_zero_std
from litnets.data.images.base import ImageDataModule
from litnets.data.images.decoding import SUFFIXES, image_size
from litnets.errors import InputError, RenamedOptionWarning


class ImageFolder(ClassFolderDataModule, ImageDataModule):
    """Your images, in one folder per class.

        litnets fit --model CNNClassifier --data ImageFolder --data.root pets --data.size 64

    Images in `root/class/*.jpg` are split into training, validation and test. Alternatively, the splits are the folders
    `root/{train,val,test}/class/*.jpg`; if val or test does not exist, the split is taken from train. The validation
    folder may also be named valid, validation or dev.

    Each image is rotated by its EXIF orientation, placed on a white background if it is transparent, center-cropped to
    the aspect ratio of `size`, resized, and kept in memory as uint8. If the images do not fit in `memory_budget`, each
    batch reads its images from disk instead; then set `num_workers` to about the number of CPU cores. The batches are
    the same either way. All images are decoded once before training, so that a broken file is reported immediately.

    Args:
        root: Folder of the images.
        size: Side length of the square that images are resized to, or [height, width], in pixels.
        gray: Convert images to grayscale (one channel) instead of RGB.
        memory_budget: Memory for the images, in gigabytes (10^9 bytes).
        grey: Deprecated name of `gray`.
        **images: Arguments of `ClassFolderDataModule`, `ImageDataModule`, `SplitDataModule` and
            `ArrayDataModule`.
    """

    suffixes = SUFFIXES
    file_kind = "image"

    def __init__(
        self,
        root: str,
        size: int | list[int] = 64,
        gray: bool = False,
        memory_budget: float = 2.0,
        grey: bool | None = None,
        **images: Any,
    ) -> None:
        super().__init__(root, **images)
        sides = [size, size] if isinstance(size, int) else size
        if len(sides) != 2 or min(sides) < 1:
            raise InputError(f"size: expected the side length of a square or [height, width], in pixels, got {size}")
        if grey:  # false was its default
            gray = _former_grey()
        self.memory_budget = memory_budget
        self.input_shape = (1 if gray else 3, sides[0], sides[1])
        self._brightness: Tensor | None = None  # of each file, if the images are not in memory

    def load(self) -> dict[str, ArrayDataset]:
        inputs, broken, moments, contents = self.read_files(self.files_to_read())
        splits = self.assign_files(contents, ~broken)
        if moments is not None:
            self._brightness = moments[:, 0].mean(1) / self.white
        if moments is not None and "mean" not in vars(self):  # avoids reading all images again
            mean, square = moments[splits["train"]].mean(0)
            std = (square - mean.square()).clamp(min=0).sqrt()
            self.mean, self.std = mean.tolist(), replace_zero_std(std, threshold=1e-6)
        targets = self.folders.targets.to(smallest_type(self.num_classes))
        return {name: ArrayDataset(inputs, targets, indices) for name, indices in splits.items()}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return statistics of the brightness, and of the sizes of at most 100 image files, in pixels."""
        indices = self.splits[part].indices
        files = [self.folders.files[i] for i in indices[sample_evenly(len(indices), 100)].tolist()]
        heights, widths = zip(*[image_size(file, self.max_pixels) for file in files], strict=True)
        sizes = {"file_height": describe_numbers(heights), "file_width": describe_numbers(widths)}
        return {**sizes, **super().describe_inputs(part)}

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the brightness of images, which is known from the first reading of the files."""
        if self._brightness is None:
            return super().slice_values(part, positions)
        values = self._brightness[self.splits[part].indices[positions]]
        return {"brightness": [round(value, 4) for value in values.tolist()]}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_new_shape(self, state_dict)
        super().load_state_dict(state_dict)


def _former_grey() -> bool:
    warnings.warn("the option grey is now called gray; replace it by gray: true", RenamedOptionWarning, 3)
    return True
