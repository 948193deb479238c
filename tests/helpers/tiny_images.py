"""Tiny data sets of color images in the real on-disk formats, for tests that read files as a run does."""

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

Bytes = NDArray[np.uint8]

FOLDER = "cifar-10-batches-py"


def learnable_color_images(size: int, seed: int, side: int = 32) -> tuple[Bytes, Bytes]:
    """Return images `(size, 3, side, side)` and classes `(size,)`.

    An image of class k is noise with a bright bar at k tenths of its height, in color channel k mod 3.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(size) % 10).astype(np.uint8)
    images = random.integers(0, 64, (size, 3, side, side), dtype=np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[label % 3, side * label // 10 : side * (label + 1) // 10 + 1] += 160
    return images, labels


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch, each: int = 24, test: int = 60) -> None:
    """Write a tiny CIFAR-10 in torchvision's layout, and replace torchvision's checksums.

    The files `folder/cifar-10-batches-py/data_batch_1` to 5 and `test_batch` are pickled as by Python 2 with NumPy 1.
    """
    checksums = {}
    (folder / FOLDER).mkdir(parents=True)
    for seed, name in enumerate(cifar10_names()):
        images, labels = learnable_color_images(test if name == "test_batch" else each, seed)
        content = python2_pickle(
            {
                b"batch_label": b"tiny",
                b"labels": labels.tolist(),
                b"data": images.reshape(len(images), -1),
                b"filenames": [b"%d.png" % i for i in range(len(images))],
            }
        )
        (folder / FOLDER / name).write_bytes(content)
        checksums[name] = hashlib.md5(content).hexdigest()
    for part in ("train_list", "test_list"):
        patched = [[name, checksums[name]] for name, _ in getattr(datasets.CIFAR10, part)]
        monkeypatch.setattr(datasets.CIFAR10, part, patched)


def pack_cifar10(folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack `folder/cifar-10-batches-py` into `archive`, and set the download URL and MD5 to those of the archive."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / FOLDER, FOLDER)
    monkeypatch.setattr(datasets.CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())


def cifar10_names() -> list[str]:
    return [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """A pickler that writes protocol 2 as Python 2 did: str is bytes, and NumPy's module has its old name."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(value)) + value)  # BINSTRING

    def save_str(self, value: str) -> None:
        self.save_bytes(value.encode("latin1"))

    def save_function(self, function: Any) -> None:
        assert function.__name__ == "_reconstruct"
        self.write(b"cnumpy.core.multiarray\n_reconstruct\n")

    dispatch[bytes], dispatch[str] = save_bytes, save_str
    dispatch[type(np.empty(0).__reduce__()[0])] = save_function


def python2_pickle(value: Any) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, 2).dump(value)
    return file.getvalue()


def write_image_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog", "owl"), size: int = 20) -> None:
    """Write `root/class/*`: PNG and JPEG images, color and grayscale, of several sizes."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(size):
            random = np.random.default_rng(100 * number + index)
            pixels = random.integers(0, 90, (20 + index, 24, 3), dtype=np.uint8)
            pixels[..., number % 3] += 120
            image = Image.fromarray(pixels)
            if index % 4 == 3:
                image = image.convert("L")
            image.save(root / name / f"{index:02}.{'jpg' if index % 2 else 'png'}")


def write_image_arrays(root: Path, size: int = 120, side: int = 12, prefix: str = "") -> None:
    """Write `root/inputs.npy` `(size, 3, side, side)` and `root/targets.npy` with 10 learnable classes."""
    root.mkdir(parents=True, exist_ok=True)
    for name, array in zip(("inputs", "targets"), learnable_color_images(size, 0, side), strict=True):
        np.save(root / f"{prefix}{name}.npy", array)
