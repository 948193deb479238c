"""CIFAR-10, in torchvision's layout and with its checksums."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from torchvision import datasets

from litnets.data.core.base import ValSplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.download import REDOWNLOAD, check_md5, download
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule
from litnets.errors import InputError
from litnets.files import open_regular, replacing

ARCHIVE_SIZE = 170_498_071  # bytes
LARGEST_FILE = 31_035_999  # bytes, of the files in it


class CIFAR10(ValSplitDataModule, ImageDataModule):
    """32x32 colour images of animals and vehicles, 10 classes, 50,000 for training and 10,000 for the official test
    (Krizhevsky 2009). The validation split is cut from the 50,000.

    Read from `data_dir/cifar-10-batches-py`, torchvision's layout; if it is not there, the archive of 170 MB is
    downloaded on first use from www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz. Archive and files are held against
    torchvision's MD5.

    Args:
        data_dir: Folder of the data sets.
        **images: Arguments of `ImageDataModule`, `ValSplitDataModule` and `ArrayDataModule`.
    """

    input_shape = (3, 32, 32)
    num_classes = 10
    class_names: ClassVar[list[str]] = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    source: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR10

    def __init__(
        self,
        data_dir: str = "data",
        **images: Any,
    ) -> None:
        super().__init__(**images)
        self.folder = Path(data_dir) / self.source.base_folder

    def download(self) -> None:
        names = [name for name, _ in self.source.train_list + self.source.test_list]
        if all((self.folder / name).exists() for name in names):
            return
        archive = self.folder.parent / self.source.filename
        download([self.source.url], archive, self.source.tgz_md5, ARCHIVE_SIZE)
        try:
            check_md5(archive, self.source.tgz_md5)
            self.folder.mkdir(exist_ok=True)
            with FileLock(self.folder / ".extract.lock"):
                _extract(archive, [self.folder / name for name in names])
        except (OSError, EOFError, tarfile.TarError, KeyError) as error:
            raise InputError(f"{archive} cannot be extracted into {self.folder}: {error}") from error

    def load(self) -> dict[str, ArrayDataset]:
        images, targets = self._read(self.source.train_list)
        samples = Fingerprint.of_verified(len(targets))
        splits = self.assign_splits(samples, lambda: split_indices(targets, len(targets), self.split_spec))
        return {
            "train": ArrayDataset(images, targets, splits["train"]),
            "val": ArrayDataset(images, targets, splits["val"]),
            "test": ArrayDataset(*self._read(self.source.test_list)),
        }

    def _read(self, files: list[list[str]]) -> tuple[Tensor, Tensor]:
        batches = [_read_batch(self.folder / name, md5) for name, md5 in files]
        images, labels = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*batches, strict=True))
        return images.view(-1, *self.input_shape), labels


def _extract(archive: Path, files: list[Path]) -> None:
    """Take `files` out of the archive and nothing else; each appears under its name when it is whole."""
    with tarfile.open(archive) as tar:
        for path in files:
            if path.exists():
                continue
            content = tar.extractfile(f"{path.parent.name}/{path.name}")
            if content is None:
                raise tarfile.TarError(f"{path.name} is no file")
            with content, replacing(path) as file:
                file.write(_read_bounded(content, path))


def _read_bounded(file: IO[bytes], path: Path) -> bytes:
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError(f"{path} has more than the {LARGEST_FILE:,} bytes that it may have; delete it")
    return content


class _Recorded:
    """Stands for every function and class that a pickle may name: keeps what it is called with and calls nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ArrayUnpickler(pickle._Unpickler):
    """Reads Python's own containers, and what a pickle says of NumPy's arrays, without NumPy.

    A pickle may name any function and call it with any arguments. Those that an array needs could be asked for more
    memory than there is. The C version allocates a table of any size that the pickle names; this one does not.
    """

    _NAMES = (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"))  # of NumPy 1

    def find_class(self, module: str, name: str) -> type[_Recorded]:
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no part of an array")
        return _Recorded


def _array(recorded: Any) -> NDArray[np.uint8]:
    """The two-dimensional uint8 array that a pickle describes.

    Raises:
        pickle.UnpicklingError: It describes something else.
    """
    match recorded:
        case _Recorded(state=(_, (int(rows), int(columns)), _Recorded(args=(b"u1", *_)), False, bytes(values))):
            if len(values) == rows * columns:
                return np.frombuffer(values, np.uint8).reshape(rows, columns)
    raise pickle.UnpicklingError("data is no array of bytes with two dimensions")


def _read_batch(path: Path, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images `(N, 3072)`, each colour's 32 rows one after the other, and labels `(N,)`, from one of the files that
    Python 2 pickled (their format: www.cs.toronto.edu/~kriz/cifar.html).

    Raises:
        InputError: The file is missing, broken, or not the one that belongs here.
    """
    try:
        with open_regular(path) as file:
            pickled = _read_bounded(file, path)
        check_md5(path, md5, pickled)
        content = _ArrayUnpickler(io.BytesIO(pickled), encoding="bytes").load()
        images, labels = _array(content[b"data"]), np.array(content[b"labels"], np.uint8)
    except InputError:
        raise
    # What a broken pickle raises has no end: pickle's own error, EOFError, KeyError, TypeError ...
    except Exception as error:
        raise InputError(f"{path} cannot be read ({error}); {REDOWNLOAD}") from error
    if images.shape != (len(labels), 3072):
        raise InputError(f"{path} is corrupted: images of shape {images.shape} and {len(labels)} labels; {REDOWNLOAD}")
    return images, labels
