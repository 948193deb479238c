"""Tiny data sets in the real on-disk formats, for tests that read files as a run does."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def write_mnist(folder: Path, name: str = "MNIST", train: int = 120, test: int = 40) -> dict[str, str]:
    """Write a tiny MNIST or Fashion-MNIST in torchvision's layout: four .gz files under `folder/name/raw`.

    Every call writes the same bytes. With at least 10 samples, all 10 classes occur. They are easy to learn: an image
    of class k is noise with a bright square on cell k of a 4x4 grid.

    Returns:
        The MD5 checksum of each file by name, to replace those of torchvision:
        `monkeypatch.setattr(datasets.MNIST, "resources", list(checksums.items()))`.
    """
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    checksums = {}
    for seed, (part, size) in enumerate((("train", train), ("t10k", test))):
        images, labels = learnable_images(size, seed)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(idx(array), mtime=0)
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(content)
            checksums[f"{part}-{kind}-ubyte.gz"] = hashlib.md5(content).hexdigest()
    return checksums


def learnable_images(size: int, seed: int) -> tuple[Bytes, Bytes]:
    """Return images `(size, 28, 28)` and balanced classes `(size,)`, both uint8, in random order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(size) % 10).astype(np.uint8)
    images = random.integers(0, 64, (size, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 7 * (label // 4), 7 * (label % 4)
        image[row : row + 7, column : column + 7] += 160
    return images, labels


def idx(array: Bytes) -> bytes:
    """Return an array in the IDX format of MNIST: type and number of dimensions, dimensions, values."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
