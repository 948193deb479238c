"""Digits: 1,797 real handwritten digits that come inside scikit-learn, so nothing is downloaded."""

from typing import Any, ClassVar

import torch

from litnets.data.core.batching import ArrayDataset
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule


class Digits(ImageDataModule):
    """8x8 images of handwritten digits with 17 levels of grey, 10 classes (Alpaydin and Kaynak 1998, the test part of
    the UCI Optical Recognition of Handwritten Digits; there is no official split of it). New images are brought
    to these levels.

    Args:
        val_size: Validation split, a share or a number of samples.
        test_size: Test split, a share or a number of samples.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold.
        fold: The fold that is held out, from 0.
        **images: Arguments of `ImageDataModule` and `ArrayDataModule`.
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    white = 16

    def __init__(
        self,
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        self.val_size, self.test_size, self.split_seed = val_size, test_size, split_seed
        self.num_folds, self.fold = num_folds, fold

    def load(self) -> dict[str, ArrayDataset]:
        from sklearn.datasets import load_digits  # here, so that only those who use it pay for the import

        bunch = load_digits()
        inputs = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)  # (N, 1, 8, 8)
        targets = torch.from_numpy(bunch.target).to(torch.uint8)
        split = split_indices(
            targets, len(targets), self.val_size, self.test_size, self.split_seed, self.num_folds, self.fold
        )
        return {name: ArrayDataset(inputs, targets, i) for name, i in zip(("train", "val", "test"), split, strict=True)}
