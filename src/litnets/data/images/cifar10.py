"""CIFAR-10, in torchvision's layout and with its checksums."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from torchvision import datasets

from litnets.data.core.batching import ArrayDataset
from litnets.data.core.download import download, md5_of
from litnets.data.core.splits import split_indices
from litnets.data.images.base import ImageDataModule
from litnets.errors import InputError


class CIFAR10(ImageDataModule):
    """32x32 colour images of animals and vehicles, 10 classes, 50,000 for training and 10,000 for the official test
    (Krizhevsky 2009). The validation split is cut from the 50,000.

    Read from `data_dir/cifar-10-batches-py`, torchvision's layout; if it is not there, the archive of 170 MB is
    downloaded on first use from www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz. Archive and files are held against
    torchvision's MD5.

    Args:
        data_dir: Folder of the data sets.
        val_size: Validation split, a share or a number of samples.
        split_seed: Seed of the split, apart from the seed of the training.
        num_folds: Cross-validation over training and validation: the number of folds; the validation split is the fold.
        fold: The fold that is held out, from 0.
        **images: Arguments of `ImageDataModule` and `ArrayDataModule`.
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
        val_size: float = 0.1,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **images: Any,
    ) -> None:
        super().__init__(**images)
        self.folder = Path(data_dir) / self.source.base_folder
        self.val_size, self.split_seed, self.num_folds, self.fold = val_size, split_seed, num_folds, fold

    def download(self) -> None:
        names = [name for name, _ in self.source.train_list + self.source.test_list]
        if all((self.folder / name).exists() for name in names):
            return
        archive = self.folder.parent / self.source.filename
        download([self.source.url], archive, self.source.tgz_md5)
        try:
            self.folder.mkdir(exist_ok=True)
            with FileLock(self.folder / ".extract.lock"):
                _extract(archive, [self.folder / name for name in names])
        except (OSError, EOFError, tarfile.TarError, KeyError) as error:
            raise InputError(f"{archive} cannot be extracted into {self.folder}: {error}") from error

    def load(self) -> dict[str, ArrayDataset]:
        images, targets = self._read(self.source.train_list)
        train, val, _ = split_indices(
            targets, len(targets), self.val_size, 0, self.split_seed, self.num_folds, self.fold
        )
        return {
            "train": ArrayDataset(images, targets, train),
            "val": ArrayDataset(images, targets, val),
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
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(content.read())
            part.replace(path)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads Python's own containers and NumPy's arrays, and calls nothing else: a pickle may name any function."""

    _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # the name that NumPy 1 wrote
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no part of an array")
        return self._KNOWN[module, name]


def _read_batch(path: Path, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images `(N, 3072)`, each colour's 32 rows one after the other, and labels `(N,)`, from one of the files that
    Python 2 pickled (their format: www.cs.toronto.edu/~kriz/cifar.html).

    Raises:
        InputError: The file is missing, broken, or not the one that belongs here.
    """
    mend = f"delete the folder {path.parent} and it will be made anew, or put a good copy there"
    try:
        if (found := md5_of(path)) != md5:
            raise InputError(f"{path} is broken: its MD5 is {found}, expected {md5}; {mend}")
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        images, labels = content[b"data"], np.array(content[b"labels"], np.uint8)
    except InputError:
        raise
    # What a broken pickle raises has no end: pickle's own error, EOFError, KeyError, TypeError ...
    except Exception as error:
        raise InputError(f"{path} cannot be read ({error}); {mend}") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), 3072):
        raise InputError(f"{path} is broken: {images.dtype} {images.shape} and {len(labels)} labels; {mend}")
    return images, labels
