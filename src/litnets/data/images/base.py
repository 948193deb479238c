"""Base class of the image DataModules: normalization and augmentation on the device."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import ArrayDataset, gather
from litnets.data.core.class_folders import BrokenFileError, read_all
from litnets.data.core.data_card import SliceValues, describe_numbers, sample_evenly
from litnets.data.core.fingerprint import Digests
from litnets.data.core.inputs import as_array, as_items, as_paths, describe, is_path
from litnets.data.core.listing import names_in, new_files
from litnets.data.core.raw_inputs import to_png
from litnets.data.core.scaling import Standardize, replace_zero_std
from litnets.data.images.augment import Augmentation
from litnets.data.images.decoding import MAX_PIXELS, SUFFIXES, ImageFiles, is_single_color, to_pixels
from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable


class ImageDataModule(ArrayDataModule):
    """Base class for uint8 images `(samples, channels, height, width)`, augmented and normalized on the device.

    Images are normalized by the mean and standard deviation of each channel on the training split.

    Args:
        augment: Augmentations of a training batch, in this order. Default: none.
        skip_broken: Skip and report image files that cannot be read, instead of raising an error.
        value_range: Values of black and white in files of grayscale images with 16 or 32 bits, such as [0, 4095].
            Default: [0, 65535], or [0, 1] for floats.
        max_pixels: Number of pixels of the largest image file that may be read. An image that claims more is refused,
            because it could exhaust the memory.
        predict_path: New images for `predict`: an image file, or a folder, which is searched recursively. No classes
            are needed, and the training files are not read. Each image is rotated by its EXIF orientation, placed on a
            white background if it is transparent, center-cropped to the aspect ratio of the training images, resized,
            and converted to grayscale or RGB like them. Nothing else is changed. Digits, MNIST and FashionMNIST expect
            light objects on a black background. Default: the test split.
        **loading: Arguments of `ArrayDataModule`.
    """

    white: ClassVar[int] = 255  # the pixel value of white
    input_kind = "image"
    memory_budget: float = 2.0  # memory for images from files, in gigabytes (10^9 bytes)

    def __init__(
        self,
        augment: list[Augmentation] | None = None,
        skip_broken: bool = False,
        value_range: list[float] | None = None,
        max_pixels: int = MAX_PIXELS,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if value_range is not None and (len(value_range) != 2 or value_range[0] == value_range[1]):
            raise InputError(
                f"value_range: expected the values of black and white, such as [0, 4095], got {value_range}"
            )
        if max_pixels < 1:
            raise InputError(f"max_pixels: expected at least 1, got {max_pixels}")
        self.augment, self.skip_broken = augment or [], skip_broken
        self.value_range, self.max_pixels = value_range, max_pixels
        self.predict_path = None if predict_path is None else Path(predict_path)

    # Computed from the data on first use; never if a checkpoint provides them.
    @cached_property
    def mean(self) -> list[float]:
        return self._statistics[0]

    @cached_property
    def std(self) -> list[float]:
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training split."""
        self.ensure_setup()
        train = self.splits["train"]
        assert isinstance(train, ArrayDataset)
        return channel_statistics(train.inputs, train.indices)

    @property
    def channel_mean(self) -> list[float]:
        """Mean of each channel, used to normalize images, on a scale where black is 0 and white is 1."""
        return [value / self.white for value in self.mean]

    @property
    def channel_std(self) -> list[float]:
        """Standard deviation of each channel, used to normalize images, where black is 0 and white is 1."""
        return [value / self.white for value in self.std]

    new_suffixes, new_kind = SUFFIXES, "image"

    def load_predict(self, path: Path) -> ArrayDataset:
        if "mean" not in vars(self):  # no checkpoint
            self.ensure_setup()
        files = new_files(path, SUFFIXES, "image")
        inputs, broken, *_ = self.read_files(files)
        readable = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in readable.tolist()])
        return ArrayDataset(inputs, torch.zeros(len(files), dtype=torch.uint8), readable)

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return new images: files, folders, PIL images, or uint8 arrays of the training shape.

        Files and PIL images are converted as for `predict_path`.
        """
        if (files := self.list_files(inputs)) is not None:
            images, broken, *_ = self.read_files(files)
            return ArrayDataset(images, torch.zeros(len(files), dtype=torch.uint8), (~broken).nonzero().squeeze(1))
        parts = [self._to_pixels(item) for item in as_items(inputs)]
        pixels = parts[0] if len(parts) == 1 else torch.cat(parts)
        return ArrayDataset(pixels, torch.zeros(len(pixels), dtype=torch.uint8))

    def list_files(self, inputs: Any) -> list[Path] | None:
        paths = as_paths(as_items(inputs))
        return None if paths is None else [file for path in paths for file in new_files(path, SUFFIXES, "image")]

    def describe_reading(self) -> dict[str, Any]:
        """Return the size and the largest value of the pixels; for the conversion of files see `to_pixels`."""
        channels, height, width = self.input_shape
        size = {"channels": channels, "height": height, "width": width}
        return {"kind": "image", **size, "white": self.white, "value_range": self.value_range}

    def _to_pixels(self, item: Any) -> Tensor:
        """Return the images of an item that is not a path, `(N, channels, height, width)`."""
        shape = cast(tuple[int, int, int], tuple(self.input_shape))
        if is_path(item):
            return self.read_inputs(item)[:][0]  # type: ignore[index, return-value]
        if isinstance(item, Image.Image):
            try:
                return to_pixels(item, shape, self.white, self.value_range).unsqueeze(0)
            except BrokenFileError as error:
                raise InputError(f"the image cannot be converted: {error}") from error
        pixels = self._as_pixels(item)
        channels, height, width = shape
        if pixels.shape[-3:] != shape and pixels.shape[-3:] == (height, width, channels):
            pixels = pixels.movedim(-1, -3).contiguous()
        if pixels.ndim in (3, 4) and pixels.shape[-3:] == shape:
            return pixels.view(-1, *shape)
        if channels == 1 and pixels.ndim in (2, 3) and pixels.shape[-2:] == (height, width):
            return pixels.reshape(-1, *shape)
        raise InputError(
            f"expected images of shape {shape} (channels, height, width) as in training, got an array of shape "
            f"{tuple(pixels.shape)}; files and PIL images are resized, arrays are not"
        )

    def _as_pixels(self, item: Any) -> Tensor:
        """Return an array of pixels as uint8, in its shape."""
        array = as_array(item, "an image file, a PIL image, or an array of pixels")
        if array.dtype.kind not in "iu":
            raise InputError(
                f"expected whole numbers from 0 to {self.white} (uint8 pixels), got {describe(array)}; the scaling of "
                "training is applied to raw pixels"
            )
        fits = array.dtype == np.uint8 and self.white == 255  # whatever the values are
        if not fits and ((largest := array.max()) > self.white or array.min() < 0):
            raise InputError(f"expected pixels from 0 to {self.white}, got {largest if largest > 0 else array.min()}")
        # torch takes only arrays that are writable and whose strides are positive.
        is_usable = array.flags.writeable and array.flags.c_contiguous
        return torch.from_numpy(array.astype(np.uint8, copy=not is_usable))

    def read_files(self, files: list[Path]) -> tuple[Tensor, Tensor, Tensor | None, Digests]:
        """Read images from files, and keep them in memory if they fit in `memory_budget`.

        In a new run, print the images of a single color.

        Returns:
            The images, as a tensor or as `ImageFiles`; the mask of the broken files, `(files,)`; if the images do not
            fit in memory, the mean and the mean square of each channel of each image, `(files, 2, channels)`, otherwise
            None; and the digest of each file.
        """
        shape = cast(tuple[int, int, int], self.input_shape)
        images = ImageFiles(files, shape, self.white, self.value_range, self.max_pixels)
        fits = images.num_bytes <= self.memory_budget * 1e9
        pixels = torch.empty(images.shape if fits else (0,), dtype=torch.uint8)
        moments = torch.zeros(len(files), 2, images.shape[1], dtype=torch.float64)
        has_single_color = np.zeros(len(files), bool)

        def read(index: int) -> None:
            image = images.read(index)
            has_single_color[index] = is_single_color(image)
            if fits:
                pixels[index] = image
            else:
                values = image.flatten(1).double()
                moments[index] = torch.stack([values.mean(1), values.square().mean(1)])

        _, broken = read_all(files, read, self.skip_broken, "image")
        if self.trained_state is None and len(empty := has_single_color.nonzero()[0]):  # a new run
            shown = printable(abbreviate([str(files[i]) for i in empty.tolist()], 3))
            print(f"{len(empty)} of {len(files)} images have a single color ({shown})", flush=True)
        # ImageFiles is indexed like a tensor, and an ArrayDataset needs no more.
        if fits:
            return pixels, broken, None, images.digests
        return cast(Tensor, images), broken, moments, images.digests

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        return {"image": to_png(self._read_input(part, position), self.white)}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return statistics of the brightness, of at most a thousand images in memory."""
        values = self.slice_values(part, sample_evenly(len(self.splits[part]), 1000))
        return {name: describe_numbers(numbers) for name, numbers in values.items()}

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the brightness of images in memory, where black is 0 and white is 1."""
        split = self.splits[part]
        if not isinstance(split, ArrayDataset) or not isinstance(split.inputs, Tensor):
            return {}  # reading the files again would take too long
        return {"brightness": brightness(split.inputs, split.indices[positions], self.white)}

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, so that a checkpoint normalizes inputs as in training."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def preparation(self) -> Standardize:
        return Standardize(self.mean, self.std, (-1, 1, 1))

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, targets = batch
        if self.trainer is not None and self.trainer.training:
            for augmentation in self.augment:
                augmentation.epoch = self.trainer.current_epoch
                images, targets = self.augmented(augmentation, images, targets)
        return self.prepare(images), targets.long()

    def augmented(self, augmentation: Augmentation, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented images and their targets."""
        return augmentation(images), targets


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """Return the exact mean and standard deviation of each channel of the uint8 images with these indices."""
    sums, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    pixels = math.prod(images.shape[2:])
    # Chunks are small enough for the CPU cache, and in the order in which the images are stored.
    for chunk in indices.sort().values.split(max(1, 2**18 // (images.shape[1] * pixels))):
        # (N, C, pixels). float64 represents all integers below 2^53 exactly.
        values = gather(images, chunk).flatten(2).double()
        sums += values.sum((0, 2))
        squares += values.square_().sum((0, 2))
    return mean_and_std(sums, squares, len(indices) * pixels)


def brightness(images: Tensor, indices: Tensor, white: int) -> list[float]:
    """Return the mean of a grid of about 32 x 32 pixels of each uint8 image with these indices, from 0 to 1."""
    rows, columns = (max(1, side // 32) for side in images.shape[2:])
    values = [
        gather(images, chunk)[:, :, ::rows, ::columns].flatten(1).double().mean(1) / white
        for chunk in indices.split(1000)
    ]
    return [round(value, 4) for value in torch.cat(values).tolist()]


def mean_and_std(sums: Tensor, squares: Tensor, count: int) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of integer values.

    The standard deviation of a constant channel is 1, so that normalization makes it 0.

    Args:
        sums: Sum of the values, `(C,)`.
        squares: Sum of their squares, `(C,)`.
        count: Number of values in a channel.
    """
    totals = [(int(total), int(square)) for total, square in zip(sums, squares, strict=True)]
    mean = [total / count for total, _ in totals]
    # Python's integers are exact even where the mean is large and the standard deviation small.
    std = [math.sqrt((count * square - total**2) / count**2) for total, square in totals]
    return mean, replace_zero_std(std)
