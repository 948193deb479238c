"""Digits: 1,797 real handwritten digits that come inside scikit-learn, so nothing is downloaded."""

from typing import ClassVar

import torch

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.fingerprint import Fingerprint, digest_rows
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule


class Digits(SplitDataModule, ImageDataModule):
    """8x8 images of handwritten digits with 17 levels of grey, 10 classes (Alpaydin and Kaynak 1998, the test part of
    the UCI Optical Recognition of Handwritten Digits; there is no official split of it). New images are brought
    to these levels.

    Args:
        augment: See `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`, as for the rest.
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    white = 16

    def load(self) -> dict[str, ArrayDataset]:
        from sklearn.datasets import load_digits  # here, so that only those who use it pay for the import

        bunch = load_digits()
        inputs = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)  # (N, 1, 8, 8)
        targets = torch.from_numpy(bunch.target).to(torch.uint8)
        samples = Fingerprint.of_rows(digest_rows(inputs, targets))
        splits = self.assign_splits(samples, lambda: split_indices(targets, len(targets), self.split_spec))
        return {name: ArrayDataset(inputs, targets, indices) for name, indices in splits.items()}
