"""MNIST and Fashion-MNIST, in torchvision's layout and with its checksums."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from litnets.data.core.base import ValSplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.download import REDOWNLOAD, check_md5, download
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule
from litnets.errors import InputError
from litnets.safety.files import open_regular


class MNIST(ValSplitDataModule, ImageDataModule):
    """28x28 grayscale images of handwritten digits, 10 classes (LeCun, Cortes, Burges).

        litnets fit --model MLPClassifier --data MNIST

    There are 60,000 training images, from which the validation split is taken, and 10,000 images in the official test
    split. They are read from `data_dir/MNIST/raw`, in torchvision's layout, compressed or not. Missing files are
    downloaded from torchvision's mirrors (ossci-datasets.s3.amazonaws.com/mnist). Compressed files are verified against
    torchvision's MD5 checksums.

    Args:
        data_dir: Folder of the datasets.
        **images: Arguments of `ImageDataModule`, `ValSplitDataModule` and `ArrayDataModule`.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    source: ClassVar[type[datasets.MNIST]] = datasets.MNIST
    sizes: ClassVar[dict[str, int]] = {  # in bytes
        "train-images-idx3-ubyte.gz": 9_912_422,
        "train-labels-idx1-ubyte.gz": 28_881,
        "t10k-images-idx3-ubyte.gz": 1_648_877,
        "t10k-labels-idx1-ubyte.gz": 4_542,
    }

    def __init__(
        self,
        data_dir: str = "data",
        **images: Any,
    ) -> None:
        super().__init__(**images)
        self.raw = Path(data_dir) / type(self).__name__ / "raw"

    def download(self) -> None:
        for name, md5 in self.source.resources:
            if not (self.raw / name).exists() and not (self.raw / name).with_suffix("").exists():
                download([mirror + name for mirror in self.source.mirrors], self.raw / name, md5, self.sizes[name])

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
        for inputs, labels in ((images, targets), (test_images, test_targets)):  # uncompressed files have no checksum
            if inputs.shape != (len(labels), *self.input_shape[1:]):
                shapes = f"images of shape {tuple(inputs.shape)} and labels of shape {tuple(labels.shape)}"
                raise InputError(f"{self.raw}: {shapes} do not match; replace them with good copies")
        samples = Fingerprint.of_verified(len(targets))
        splits = self.assign_splits(samples, lambda: split_indices(targets, len(targets), self.split_spec))
        images = images.unsqueeze(1)  # (N, 28, 28) -> (N, 1, 28, 28)
        return {
            "train": ArrayDataset(images, targets, splits["train"]),
            "val": ArrayDataset(images, targets, splits["val"]),
            "test": ArrayDataset(test_images.unsqueeze(1), test_targets),
        }


class FashionMNIST(MNIST):
    """28x28 grayscale images of clothes, 10 classes (Xiao, Rasul, Vollgraf 2017).

        litnets fit --model MLPClassifier --data FashionMNIST

    There are 60,000 training images, from which the validation split is taken, and 10,000 images in the official test
    split. They are read from `data_dir/FashionMNIST/raw`, in torchvision's layout, compressed or not. Missing files are
    downloaded from fashion-mnist.s3-website.eu-central-1.amazonaws.com. Compressed files are verified against
    torchvision's MD5 checksums.
    """

    class_names: ClassVar[list[str]] = list(datasets.FashionMNIST.classes)
    source = datasets.FashionMNIST
    sizes: ClassVar[dict[str, int]] = {
        "train-images-idx3-ubyte.gz": 26_421_880,
        "train-labels-idx1-ubyte.gz": 29_515,
        "t10k-images-idx3-ubyte.gz": 4_422_102,
        "t10k-labels-idx1-ubyte.gz": 5_148,
    }


def _read_idx(compressed: Path, md5: str) -> Tensor:
    """Read the uint8 array of an IDX file (http://yann.lecun.com/exdb/mnist).

    Args:
        compressed: The .gz file. If it does not exist, the uncompressed file next to it is read.
        md5: MD5 of the .gz file.

    Raises:
        InputError: The file is missing, corrupted, or has another MD5.
    """
    path = compressed if compressed.exists() else compressed.with_suffix("")
    try:
        if path == compressed:
            check_md5(path, md5)
        with open_regular(path) as raw, gzip.open(raw) if path == compressed else raw as file:
            # Header: two zero bytes, the dtype (8: uint8), the number of dimensions, and each dimension in 32 bits.
            header = file.read(4)
            dimensions = file.read(4 * header[3]) if len(header) == 4 and header[:3] == b"\0\0\x08" else b""
            shape = np.frombuffer(dimensions, ">u4", len(dimensions) // 4).tolist()
            size = math.prod(shape) if shape else 0
            # Allocate no more than the file can contain (deflate compresses at most 1,032 to 1), and read into the
            # tensor directly, since a second copy would double the memory.
            values = torch.empty(size if size <= 1032 * path.stat().st_size else 0, dtype=torch.uint8)
            is_complete = len(values) == size > 0 and _read_into(file, values) == size and not file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {REDOWNLOAD}") from error
    if not is_complete:
        size = path.stat().st_size
        raise InputError(f"{path} is corrupted: its {size} bytes are not one complete IDX file; {REDOWNLOAD}")
    return values.view(shape)


def _read_into(file: gzip.GzipFile | BinaryIO, values: Tensor) -> int:
    """Fill `values` with the next bytes of the file, and return the number of bytes read."""
    buffer, filled = values.numpy().data, 0
    while filled < len(buffer) and (part := file.read(min(1 << 20, len(buffer) - filled))):
        buffer[filled : filled + len(part)] = part
        filled += len(part)
    return filled
