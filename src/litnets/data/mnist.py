"""MNIST and Fashion-MNIST, in torchvision's layout and with its checksums."""

import gzip
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from litnets.data.batches import ArrayDataset
from litnets.data.datamodule import ImageDataModule
from litnets.data.download import download, md5_of
from litnets.data.splits import split_indices
from litnets.errors import InputError


class MNIST(ImageDataModule):
    """28x28 grey images of handwritten digits, 10 classes, 60,000 for training and 10,000 for the official test
    (LeCun, Cortes, Burges). The validation split is cut from the 60,000.

    Read from `data_dir/MNIST/raw`, torchvision's layout, compressed or not; what is not there is downloaded on first
    use from torchvision's mirrors (ossci-datasets.s3.amazonaws.com/mnist) and held against torchvision's MD5.

    Args:
        data_dir: Folder of the data sets.
        val_size: Validation split, a share or a number of samples.
        split_seed: Seed of the split, apart from the seed of the training.
        num_folds: Cross-validation over training and validation: the number of folds; the validation split is the fold.
        fold: The fold that is held out, from 0.
        **images: Arguments of `ImageDataModule` and `ArrayDataModule`.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    source: ClassVar[type[datasets.MNIST]] = datasets.MNIST

    def __init__(
        self,
        data_dir: str = "data",
        val_size: float = 0.1,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        self.raw = Path(data_dir) / type(self).__name__ / "raw"
        self.val_size, self.split_seed, self.num_folds, self.fold = val_size, split_seed, num_folds, fold

    def fetch(self) -> None:
        for name, md5 in self.source.resources:
            if not (self.raw / name).exists() and not (self.raw / name).with_suffix("").exists():
                download([mirror + name for mirror in self.source.mirrors], self.raw / name, md5)

    def load(self) -> dict[str, ArrayDataset]:
        checksums = dict(self.source.resources)
        parts = [
            _read_idx(self.raw / f"{part}.gz", checksums[f"{part}.gz"])
            for part in (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            )
        ]
        images, targets, test_images, test_targets = parts
        for inputs, labels in ((images, targets), (test_images, test_targets)):  # uncompressed, they have no checksum
            if inputs.shape != (len(labels), *self.input_shape[1:]):
                found = f"images {tuple(inputs.shape)} and labels {tuple(labels.shape)}"
                raise InputError(f"{self.raw}: {found} do not belong together; put good copies there")
        train, val, _ = split_indices(
            targets, len(targets), self.val_size, 0, self.split_seed, self.num_folds, self.fold
        )
        images = images.unsqueeze(1)  # (N, 28, 28) -> (N, 1, 28, 28)
        return {
            "train": ArrayDataset(images, targets, train),
            "val": ArrayDataset(images, targets, val),
            "test": ArrayDataset(test_images.unsqueeze(1), test_targets),
        }


class FashionMNIST(MNIST):
    """28x28 grey images of clothes, 10 classes, 60,000 for training and 10,000 for the official test (Xiao, Rasul,
    Vollgraf 2017). The validation split is cut from the 60,000.

    Read from `data_dir/FashionMNIST/raw`, torchvision's layout, compressed or not; what is not there is downloaded on
    first use (fashion-mnist.s3-website.eu-central-1.amazonaws.com) and held against torchvision's MD5.
    """

    class_names: ClassVar[list[str]] = list(datasets.FashionMNIST.classes)
    source = datasets.FashionMNIST


def _read_idx(compressed: Path, md5: str) -> Tensor:
    """The uint8 array of an IDX file (its format: http://yann.lecun.com/exdb/mnist), compressed or beside it not.

    Raises:
        InputError: The file is missing, broken, or not the one that belongs here.
    """
    path = compressed if compressed.exists() else compressed.with_suffix("")
    mend = f"delete it and it will be downloaded anew, or put a good copy into {path.parent}"
    try:
        if path == compressed and (found := md5_of(path)) != md5:
            raise InputError(f"{path} is broken: its MD5 is {found}, expected {md5}; {mend}")
        content = bytearray(gzip.decompress(path.read_bytes()) if path == compressed else path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {mend}") from error
    # Header: two zero bytes, the type (8: uint8), the number of dimensions, then each dimension as a 32-bit integer.
    dimensions = content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist() if len(content) >= 4 + 4 * dimensions else []
    start = 4 + 4 * dimensions
    if not shape or len(content) != start + int(np.prod(shape)):
        raise InputError(f"{path} is broken: {len(content)} bytes that are no whole IDX file; {mend}")
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).view(shape)
