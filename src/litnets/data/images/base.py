"""What all DataModules of images share: normalization and augmentation on the device."""

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
    """Images in memory as uint8 `(samples, channels, height, width)`: augmented and normalised as a batch on the
    device, by the mean and standard deviation of each channel of the training split.

    Args:
        augment: Augmentations of a training batch, in their order.
        skip_broken: Leave out files of images that cannot be read, and say which, instead of stopping.
        predict_path: New images for `predict`: a folder of them, at any depth, or a single one; no classes are needed,
            and the files of the training are not read then. Each is turned upright as its camera noted, laid on white
            where it is transparent, cropped around its centre to the shape of those of the training, resized, and made
            grey or coloured as they are. Nothing else is changed: in Digits, MNIST and FashionMNIST what is shown is
            light on black.
        batch_size: See `ArrayDataModule`, as for the rest.
    """

    white: ClassVar[int] = 255  # the value of it
    memory_budget: float = 2.0  # gigabytes (10^9 bytes) that images from files may take in memory

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
        # Mean and deviation of each channel as tensors, which take longer to make than to use, behind what they are of.
        self._scaling: tuple[Any, Tensor, Tensor] | None = None

    # Read from the data when they are needed first: where a checkpoint gives them, or nothing is trained, never.
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
        found = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in found.tolist()])
        return ArrayDataset(inputs, torch.zeros(len(files), dtype=torch.uint8), found)

    def read_files(self, files: list[Path]) -> tuple[Tensor, Tensor, Tensor | None, Digests]:
        """Read images from files.

        Returns:
            The images, in memory if they fit; a flag for each that is broken, `(files,)`; if they do not fit, mean and
            mean square of the channels of each, `(files, 2, channels)`; and the digest of each file.
        """
        images = ImageFiles(files, cast(tuple[int, int, int], self.input_shape), self.white)
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
        if fits:
            return kept, broken, None, images.digests
        return cast(Tensor, images), broken, moments, images.digests

    def state_dict(self) -> dict[str, Any]:
        """The statistics, so that a checkpoint's network sees inputs as it saw them in training."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def normalize(self, images: Tensor) -> Tensor:
        """Raw images `(N, C, H, W)` as the network wants them."""
        made_of = (*self.mean, *self.std, images.device)
        if self._scaling is None or self._scaling[0] != made_of:
            with torch.inference_mode(False):  # so that they may be used anywhere later
                mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
            self._scaling = made_of, mean, std
        _, mean, std = self._scaling
        return images.to(mean.dtype, copy=True).sub_(mean).div_(std)  # one new tensor instead of two

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, targets = batch
        if self.trainer is not None and self.trainer.training:
            for augmentation in self.augment:
                augmentation.epoch = self.trainer.current_epoch
                images = augmentation(images)
        return self.normalize(images), targets.long()


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the chosen uint8 images, exact.

    A channel that is constant gets the standard deviation 1, so that it becomes zero and not infinite.
    """
    sums, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    pixels = math.prod(images.shape[2:])
    # So few values at a time that they stay in the processor's cache; in the order in which they lie on a disk.
    for chunk in indices.sort().values.split(max(1, 2**18 // (images.shape[1] * pixels))):
        values = (
            gather(images, chunk).flatten(2).double()
        )  # (N, C, pixels); whole numbers, of which float64 holds all below 2^53
        sums += values.sum((0, 2))
        squares += values.square_().sum((0, 2))
    count = len(indices) * pixels
    totals = [(int(total), int(square)) for total, square in zip(sums, squares, strict=True)]
    mean = [total / count for total, _ in totals]
    # Python's integers are exact even where the mean is large and the standard deviation small.
    std = [math.sqrt((count * square - total**2) / count**2) for total, square in totals]
    return mean, replace_zero_std(std)
