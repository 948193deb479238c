"""Digits: 1,797 handwritten digits that ship with scikit-learn, so that nothing is downloaded."""

from typing import ClassVar

import torch

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.fingerprint import Fingerprint, digest_rows
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule


class Digits(SplitDataModule, ImageDataModule):
    """8x8 grayscale images of handwritten digits, 10 classes (Alpaydin and Kaynak 1998).

        litnets fit --model MLPClassifier --data Digits

    These are the 1,797 test images of the UCI Optical Recognition of Handwritten Digits dataset, as included in
    scikit-learn. They have no official splits. Pixel values range from 0 to 16, and new images are scaled to this.

    Args:
        **images: Arguments of `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    white = 16

    def load(self) -> dict[str, ArrayDataset]:
        from sklearn.datasets import load_digits  # imported here because the import is slow

        bunch = load_digits()
        inputs = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)  # (N, 1, 8, 8)
        targets = torch.from_numpy(bunch.target).to(torch.uint8)
        samples = Fingerprint.of_rows(digest_rows(inputs, targets))
        splits = self.assign_splits(samples, lambda: split_indices(targets, len(targets), self.split_spec))
        return {name: ArrayDataset(inputs, targets, indices) for name, indices in splits.items()}
