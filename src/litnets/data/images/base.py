"""Base class of the image DataModules: normalization and augmentation on the device."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import ArrayDataset, gather
from litnets.data.core.class_folders import names_in, new_files, read_all
from litnets.data.core.fingerprint import Digests
from litnets.data.core.scaling import replace_zero_std
from litnets.data.images.augment import Augmentation
from litnets.data.images.decoding import SUFFIXES, ImageFiles


class ImageDataModule(ArrayDataModule):
    """Base class for uint8 images `(samples, channels, height, width)`, augmented and normalized on the device.

    Images are normalized by the mean and standard deviation of each channel on the training split.

    Args:
        augment: Augmentations of a training batch, in this order.
        skip_broken: Skip and report image files that cannot be read, instead of raising an error.
        predict_path: New images for `predict`: an image file, or a folder, which is searched recursively. No classes
            are needed, and the training files are not read. Each image is rotated by its EXIF orientation, placed on a
            white background if it is transparent, center-cropped to the aspect ratio of the training images, resized,
            and converted to grayscale or RGB like them. Nothing else is changed. Digits, MNIST and FashionMNIST expect
            light objects on a black background.
        **loading: Arguments of `ArrayDataModule`.
    """

    white: ClassVar[int] = 255  # the pixel value of white
    memory_budget: float = 2.0  # memory for images from files, in gigabytes (10^9 bytes)

    def __init__(
        self,
        augment: list[Augmentation] | None = None,
        skip_broken: bool = False,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.augment, self.skip_broken = augment or [], skip_broken
        self.predict_path = None if predict_path is None else Path(predict_path)
        # Cached mean and standard deviation as tensors, which take longer to create than to use, after their cache key.
        self._scaling: tuple[Any, Tensor, Tensor] | None = None

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

    def load_predict(self, path: Path) -> ArrayDataset:
        if "mean" not in vars(self):  # no checkpoint
            self.ensure_setup()
        files = new_files(path, SUFFIXES, "image")
        inputs, broken, *_ = self.read_files(files)
        readable = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in readable.tolist()])
        return ArrayDataset(inputs, torch.zeros(len(files), dtype=torch.uint8), readable)

    def read_files(self, files: list[Path]) -> tuple[Tensor, Tensor, Tensor | None, Digests]:
        """Read images from files, and keep them in memory if they fit in `memory_budget`.

        Returns:
            The images, as a tensor or as `ImageFiles`; the mask of the broken files, `(files,)`; if the images do not
            fit in memory, the mean and the mean square of each channel of each image, `(files, 2, channels)`, otherwise
            None; and the digest of each file.
        """
        images = ImageFiles(files, cast(tuple[int, int, int], self.input_shape), self.white)
        fits = images.num_bytes <= self.memory_budget * 1e9
        pixels = torch.empty(images.shape if fits else (0,), dtype=torch.uint8)
        moments = torch.zeros(len(files), 2, images.shape[1], dtype=torch.float64)

        def read(index: int) -> None:
            image = images.read(index)
            if fits:
                pixels[index] = image
            else:
                values = image.flatten(1).double()
                moments[index] = torch.stack([values.mean(1), values.square().mean(1)])

        _, broken = read_all(files, read, self.skip_broken, "image")
        # ImageFiles is indexed like a tensor, and an ArrayDataset needs no more.
        if fits:
            return pixels, broken, None, images.digests
        return cast(Tensor, images), broken, moments, images.digests

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, so that a checkpoint normalizes inputs as in training."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def normalize(self, images: Tensor) -> Tensor:
        """Return raw images `(N, C, H, W)`, normalized per channel."""
        key = (*self.mean, *self.std, images.device)
        if self._scaling is None or self._scaling[0] != key:
            with torch.inference_mode(False):  # inference tensors could not be used in training later
                mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
            self._scaling = key, mean, std
        _, mean, std = self._scaling
        return images.to(mean.dtype, copy=True).sub_(mean).div_(std)  # in place, to allocate one tensor instead of two

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, targets = batch
        if self.trainer is not None and self.trainer.training:
            for augmentation in self.augment:
                augmentation.epoch = self.trainer.current_epoch
                images = augmentation(images)
        return self.normalize(images), targets.long()


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """Return the exact mean and standard deviation of each channel of the uint8 images with these indices.

    The standard deviation of a constant channel is 1, so that normalization makes it 0.
    """
    sums, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    pixels = math.prod(images.shape[2:])
    # Chunks are small enough for the CPU cache, and in the order in which the images are stored.
    for chunk in indices.sort().values.split(max(1, 2**18 // (images.shape[1] * pixels))):
        # (N, C, pixels). float64 represents all integers below 2^53 exactly.
        values = gather(images, chunk).flatten(2).double()
        sums += values.sum((0, 2))
        squares += values.square_().sum((0, 2))
    count = len(indices) * pixels
    totals = [(int(total), int(square)) for total, square in zip(sums, squares, strict=True)]
    mean = [total / count for total, _ in totals]
    # Python's integers are exact even where the mean is large and the standard deviation small.
    std = [math.sqrt((count * square - total**2) / count**2) for total, square in totals]
    return mean, replace_zero_std(std)
