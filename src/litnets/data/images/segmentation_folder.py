"""SegmentationFolder: your images, each with a mask."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.class_folders import check_classes
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.groups import copy_groups, groups_in
from litnets.data.core.new_samples import Split
from litnets.data.core.predefined_splits import fixed_splits, split_the_rest
from litnets.data.core.splits import SplitSpec, split_indices
from litnets.data.core.stray_files import report_copies, report_small_files
from litnets.data.images.labeled import format_size
from litnets.data.images.mask_files import MaskFiles, read_class_names
from litnets.data.images.masks import MaskValues
from litnets.data.images.segmentation import SegmentationDataModule
from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable

_LARGEST_CROP = 256  # pixels, of the default height and width


class SegmentationFolder(SegmentationDataModule):
    """Your images, each with a mask of the same name that holds the class of each pixel.

        litnets fit --model UNetSegmenter --data SegmentationFolder --data.root streets

    The mask of `root/images/a.jpg` is `root/masks/a.png`. The images are split into training, validation and test.
    Alternatively, the splits are `root/{train,val,test}/{images,masks}` or `root/{images,masks}/{train,val,test}`; if
    val or test does not exist, the split is taken from train. The validation folder may also be named valid, validation
    or dev.

    A mask has one channel of 8 bits, gray or with a palette. Its values are class indices from 0, and 255 for pixels
    that are not labeled. Alternatively, they are 0 for background and 255 for foreground. `root/class_names.txt` may
    name the classes, one per line. If each line also has a color (`road 128 64 128`), masks are RGB images of these
    colors.

    Images are not resized. Those that fit in `memory_budget` stay in memory; the others are read again for each crop.
    In that case, set `num_workers` to about the number of CPU cores. All files are decoded once before training, so
    that a broken one is reported immediately.

    Args:
        root: The folder.
        crop_size: Side length of the square crops that the network is trained on, or [height, width], in pixels.
            Smaller images are padded, and the padding does not count. Default: the largest height and width of the
            images, each at most 256.
        gray: Convert images to grayscale (one channel) instead of RGB.
        ignore_value: Value of the pixels in the masks that are not labeled. Default: 255, or none if the masks contain
            only 0 and 255.
        mask_suffix: End of the name of each mask: `_mask` if the mask of `a.jpg` is `a_mask.png`.
        group_pattern: Regular expression for the start of the name of each image, including subfolders. Images for
            which its parentheses match the same text, such as the tiles of one scene, stay in one split and fold:
            `([^_]+)_` for `scene7_3.jpg`. Default: only exact copies stay together.
        memory_budget: Memory for images and masks, in gigabytes (10^9 bytes).
        **images: Arguments of `SegmentationDataModule`, `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        crop_size: int | list[int] | None = None,
        gray: bool = False,
        ignore_value: int | None = None,
        mask_suffix: str = "",
        group_pattern: str | None = None,
        memory_budget: float = 2.0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        sides = [crop_size, crop_size] if isinstance(crop_size, int) else crop_size
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise InputError(
                f"crop_size: expected the side length of a square or [height, width], in pixels, got {crop_size}"
            )
        if sides is not None and sides[0] * sides[1] > self.max_pixels:
            raise InputError(
                f"crop_size: expected at most {self.max_pixels:,} pixels in a crop (--data.max_pixels), got {crop_size}"
            )
        if ignore_value is not None and not 0 <= ignore_value <= 255:
            raise InputError(f"ignore_value: expected a mask value from 0 to 255, got {ignore_value}")
        self.root, self.gray, self.ignore_value = Path(root), gray, ignore_value
        self.mask_suffix, self.group_pattern, self.memory_budget = mask_suffix, group_pattern, memory_budget
        self._crop = None if sides is None else (sides[0], sides[1])
        self._values: MaskValues | None = None  # set by `load`, or from a checkpoint

    @property
    def channels(self) -> int:
        return 1 if self.gray else 3

    @property
    def input_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        if self._crop is None:
            self.ensure_setup()
        assert self._crop is not None
        return self.channels, *self._crop

    @property
    def mask_values(self) -> MaskValues:
        if self._values is None:
            self.ensure_setup()
        assert self._values is not None
        return self._values

    @property
    def class_names(self) -> list[str]:
        return self.mask_values.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    @cached_property
    def files(self) -> MaskFiles:
        """The files in `root`, listed on first use."""
        return MaskFiles.scan(self.root, self.mask_suffix)

    def load(self) -> dict[str, Split]:
        files = self.files
        if self.recorded_split is None:
            self._propose_splits(self._name_groups)  # raises an error for invalid options before any file is read
        named = read_class_names(self.root / "class_names.txt")
        names, colors = (None, None) if named is None else named

        def choose_values(counts: NDArray[np.int64], masks: Sequence[Path]) -> MaskValues:
            return MaskValues.infer(counts, masks, names, self.ignore_value, colors)

        labeled = self.read_labeled(files, colors, choose_values)
        self._values = labeled.values
        splits = self.assign_splits(
            Fingerprint.of_files(self.root, files.images, labeled.contents),
            lambda: self._propose_splits(
                copy_groups(labeled.image_contents, labeled.usable) if self._name_groups is None else self._name_groups
            ),
            fixed_splits(files.parts, len(files.images), self.split_spec),
            labeled.usable,
        )
        self._check_classes(labeled.pairs.counts[splits["train"]].sum(0))
        self._choose_crop(labeled.pairs.sizes[labeled.usable])
        if self.trained_state is None:  # a new run
            used = torch.cat(list(splits.values())).sort().values.tolist()
            report_small_files([files.images[i] for i in used], "images")
            no_classes = np.zeros(len(files.images))
            report_copies(labeled.image_contents, no_classes, splits, "images", lambda i: str(files.images[i]))
        return self.make_splits(labeled.pairs, splits)

    @cached_property
    def _name_groups(self) -> Tensor | None:
        return None if self.group_pattern is None else self.files.name_groups(self.group_pattern)

    def _propose_splits(self, groups: Tensor | None) -> list[Tensor]:
        def split(pool: Tensor, spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
            return split_indices(None, len(pool), spec, groups_in(pool, groups))

        return split_the_rest(self.files.parts, len(self.files.images), self.split_spec, split)

    def _check_classes(self, counts: Tensor) -> None:
        """Check that the training split has several classes, and print the classes without a training pixel.

        Args:
            counts: Number of pixels of each class in the training split.
        """
        absent = [name for name, count in zip(self.class_names, counts.tolist(), strict=True) if not count]
        if len(absent) >= len(self.class_names) - 1:
            present = [name for name in self.class_names if name not in absent]
            classes = f"only the class {present[0]}" if present else "no class"
            raise InputError(f"{self.root}: the masks of the training split have {classes}; expected at least two")
        if absent and self.trained_state is None:
            print(f"data: the training split has no pixel of {printable(abbreviate(absent))}", flush=True)

    def _choose_crop(self, sizes: Tensor) -> None:
        """Set the size of the crops, unless the user has, and print it if any image has another size.

        Args:
            sizes: Height and width of each image, `(images, 2)`.
        """
        smallest, largest = sizes.amin(0).tolist(), sizes.amax(0).tolist()
        if self._crop is None:
            shape = None if self.trained_state is None else self.trained_state["input_shape"]
            height, width = largest if shape is None else shape[1:]
            self._crop = min(height, _LARGEST_CROP), min(width, _LARGEST_CROP)
        if self.trained_state is None and (smallest != largest or tuple(largest) != self._crop):
            sizes_found = " to ".join(dict.fromkeys(map(format_size, (smallest, largest))))
            print(
                f"crops of {format_size(self._crop)} pixels from images of {sizes_found} (--data.crop_size)", flush=True
            )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "input_shape": list(self.input_shape), "mask_values": asdict(self.mask_values)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        trained = MaskValues(**state_dict["mask_values"])
        if self.predict_path is not None and not self.splits:
            self._values, self._crop = trained, tuple(state_dict["input_shape"][1:])
        else:
            check_classes(trained.class_names, self.class_names)
        super().load_state_dict(state_dict)
