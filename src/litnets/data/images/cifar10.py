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
from litnets.safety.files import open_regular, replacing

ARCHIVE_SIZE = 170_498_071  # bytes
LARGEST_FILE = 31_035_999  # bytes, of the files in the archive


class CIFAR10(ValSplitDataModule, ImageDataModule):
    """32x32 RGB images of animals and vehicles, 10 classes (Krizhevsky 2009).

        litnets fit --model CNNClassifier --data CIFAR10

    There are 50,000 training images, from which the validation split is taken, and 10,000 images in the official test
    split. They are read from `data_dir/cifar-10-batches-py`, in torchvision's layout. If files are missing, the archive
    (170 MB) is downloaded from www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz. The archive and the files are verified
    against torchvision's MD5 checksums.

    Args:
        data_dir: Folder of the datasets.
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
    """Extract only `files` from the archive, each with an atomic write."""
    with tarfile.open(archive) as tar:
        for path in files:
            if path.exists():
                continue
            content = tar.extractfile(f"{path.parent.name}/{path.name}")
            if content is None:
                raise tarfile.TarError(f"{path.name} is not a file")
            with content, replacing(path) as file:
                file.write(_read_bounded(content, path))


def _read_bounded(file: IO[bytes], path: Path) -> bytes:
    """Return the content of a file, or raise InputError if it is larger than any file of the data set."""
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError(f"{path} is too large: expected at most {LARGEST_FILE:,} bytes; {REDOWNLOAD}")
    return content


class _Recorded:
    """Replaces every function and class that a pickle names: records the arguments and calls nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ArrayUnpickler(pickle._Unpickler):
    """Unpickles Python's containers and descriptions of NumPy arrays, without calling NumPy.

    A pickle can call any function that it names, with any arguments. Even the functions that build an array can be made
    to exhaust the memory. This is the Python version because the C version allocates a table of any size that the
    pickle asks for.
    """

    _NAMES = (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"))  # of NumPy 1

    def find_class(self, module: str, name: str) -> type[_Recorded]:
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it uses {module}.{name}, which is not part of an array")
        return _Recorded


def _array(recorded: Any) -> NDArray[np.uint8]:
    """Return the 2D uint8 array that an unpickled object describes.

    Raises:
        pickle.UnpicklingError: The object is anything else.
    """
    match recorded:
        case _Recorded(state=(_, (int(rows), int(columns)), _Recorded(args=(b"u1", *_)), False, bytes(values))):
            if len(values) == rows * columns:
                return np.frombuffer(values, np.uint8).reshape(rows, columns)
    raise pickle.UnpicklingError("data is not a 2D array of uint8")


def _read_batch(path: Path, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the images `(N, 3072)`, by channel, row and column, and the labels `(N,)` of a batch file.

    The file is a Python 2 pickle, described at www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        InputError: The file is missing, corrupted, or has another MD5.
    """
    try:
        with open_regular(path) as file:
            pickled = _read_bounded(file, path)
        check_md5(path, md5, pickled)
        content = _ArrayUnpickler(io.BytesIO(pickled), encoding="bytes").load()
        images, labels = _array(content[b"data"]), np.array(content[b"labels"], np.uint8)
    except InputError:
        raise
    # A broken pickle can raise almost anything: UnpicklingError, EOFError, KeyError, TypeError ...
    except Exception as error:
        raise InputError(f"{path} cannot be read ({error}); {REDOWNLOAD}") from error
    if images.shape != (len(labels), 3072):
        raise InputError(f"{path} is corrupted: images of shape {images.shape} and {len(labels)} labels; {REDOWNLOAD}")
    return images, labels
