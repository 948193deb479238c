"""ImageArrays: your images in NumPy arrays on disk, which may be larger than memory."""

import mmap
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset, smallest_type
from litnets.data.core.class_folders import check_classes
from litnets.data.core.data_card import SliceValues
from litnets.data.core.fingerprint import Digests, Fingerprint, digest_rows
from litnets.data.core.inputs import is_path
from litnets.data.core.listing import data_files
from litnets.data.core.new_samples import check_new_shape
from litnets.data.core.predefined_splits import SPLIT_OF
from litnets.data.core.splits import PARTS, check_trained_on, split_indices
from litnets.data.images.base import ImageDataModule, brightness
from litnets.errors import InputError
from litnets.safety.escaping import printable
from litnets.safety.files import is_regular, open_regular

_MAX_READ_AGAIN = 200_000_000  # bytes of images that are read again after a test


def open_array(path: Path) -> "np.memmap[Any, np.dtype[Any]]":
    """Memory-map the array of a .npy file, read-only.

    Raises:
        InputError: The file is missing, not a complete .npy file, in Fortran order, or contains Python objects.
    """
    if path.exists() and not is_regular(path):
        raise InputError(f"{path} is not a regular file")
    try:
        # The operating system refuses a copy-on-write mapping (mode "c") that is larger than memory.
        array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a broken header raises ValueError, TokenError, TypeError, SyntaxError ...
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not a complete .npy file of numbers ({reason}); write it again with np.save"
        ) from error
    if not array.flags.c_contiguous:
        raise InputError(f"{path} is in Fortran order, expected C order; save np.ascontiguousarray(array) instead")
    return array


class MappedImages:
    """Memory-mapped images of a .npy file, indexed like a uint8 tensor `(N, C, H, W)`.

    Only the indexed images are read, and the operating system frees its page cache if memory is needed. Pickling, as
    for a DataLoader worker, passes the path and not the content.

    Args:
        path: A file with a uint8 array `(N, H, W)` or `(N, C, H, W)`.

    Raises:
        InputError: The file is not valid (see `open_array`), or the array has another dtype or shape, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        array = open_array(path)
        if array.dtype != np.uint8:
            raise InputError(
                f"{path}: expected uint8 values from 0 to 255, got {array.dtype}; convert and save them again"
            )
        if array.ndim not in (3, 4) or not array.size:
            raise InputError(
                f"{path}: expected shape (N, height, width) or (N, channels, height, width), got {array.shape}"
            )
        if array.ndim == 4 and array.shape[3] <= 4 < array.shape[1]:
            raise InputError(
                f"{path}: expected shape (N, channels, height, width), got {array.shape}, with the channels last; "
                "save np.ascontiguousarray(np.moveaxis(images, -1, 1)) instead"
            )
        self._map: mmap.mmap = array.base  # type: ignore[assignment]
        self._start = array.offset % mmap.ALLOCATIONGRANULARITY  # offset of the first image in the map, in bytes
        self._size = array.nbytes // len(array)  # size of an image, in bytes
        values = from_dlpack(array)  # like from_numpy, but without its warning about read-only arrays
        self.values = values if values.ndim == 4 else values.unsqueeze(1)
        self.shape = tuple(self.values.shape)

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedImages, (self.path,)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return a copy of one image for a scalar index, of a batch for a 1D index."""
        indices = index.flatten()
        self._prefetch(indices)
        return self.values.index_select(0, indices).view(*index.shape, *self.shape[1:])

    def _prefetch(self, indices: Tensor) -> None:
        """Advise the operating system to read these images in parallel.

        Without the advice, it reads them one after the other, each with its read-ahead, which a shuffled batch does not
        need. That takes a hundred times as long.
        """
        # The read-ahead is faster for images that are next to each other. Windows has no such advice.
        is_contiguous = len(indices) < 2 or indices.max() - indices.min() < 2 * len(indices)
        if is_contiguous or not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = indices * self._size + self._start
        pages = starts // mmap.PAGESIZE * mmap.PAGESIZE  # the advice has to start at a page
        for page, length in zip(pages.tolist(), (starts - pages + self._size).tolist(), strict=True):
            self._map.madvise(mmap.MADV_WILLNEED, page, length)


class ImageArrays(SplitDataModule, ImageDataModule):
    """Your images in NumPy arrays on disk, which may be larger than memory.

        litnets fit --model CNNClassifier --data ImageArrays --data.root arrays

    `root/inputs.npy` and `root/targets.npy` are split into training, validation and test. Alternatively, the splits are
    `root/{train,val,test}_inputs.npy` and `root/{train,val,test}_targets.npy`; val may also be named valid, validation
    or dev, and if there are no files for val or test, the split is taken from train. Inputs are uint8,
    `(N, height, width)` or `(N, channels, height, width)`. Targets are integer classes from 0, `(N,)`.
    `root/class_names.txt` may name the classes, one per line.

    The inputs are memory-mapped: a batch reads only its images, and the operating system frees its page cache if memory
    is needed. If the files do not fit into the cache, set `num_workers` to 1 to read batches during training. The
    training split is read once before training to compute its mean and standard deviation. A large file can be written
    in parts::

        inputs = np.lib.format.open_memmap("root/inputs.npy", "w+", np.uint8, (1_000_000, 3, 64, 64))
        for start in range(0, len(inputs), 1000):
            inputs[start : start + 1000] = ...

    Args:
        root: Folder of the arrays.
        predict_path: New images for `predict`: a .npy file of images of the training shape, an image file, or a folder
            of image files, which is searched recursively. Image files are converted to the training shape. The
            training files are not read. Default: the test split.
        **images: Arguments of `ImageDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        predict_path: str | None = None,
        **images: Any,
    ) -> None:
        super().__init__(predict_path=predict_path, **images)
        self.root = Path(root)

    @cached_property
    def parts(self) -> dict[str, tuple[MappedImages, Tensor]]:
        """Inputs and targets of each split that has files; under "" if `root/inputs.npy` is to be split.

        Raises:
            InputError: Files are missing or inconsistent, or targets are not classes.
        """
        prefixes = _find_prefixes(self.root) if self.root.is_dir() else {}
        if (self.root / "inputs.npy").exists():
            if prefixes:
                other = next(iter(prefixes.values()))
                raise InputError(f"{self.root} has both inputs.npy and {other}inputs.npy; remove one of them")
            return {"": _read_part(self.root, "")}
        if "train" not in prefixes:
            problem = "has neither inputs.npy nor train_inputs.npy" if self.root.is_dir() else "is not a folder"
            raise InputError(f"{self.root} {problem}; set --data.root to the folder of the arrays")
        parts = {part: _read_part(self.root, prefix) for part, prefix in prefixes.items()}
        train, targets = parts["train"]
        for part, (images, labels) in parts.items():
            if images.shape[1:] != train.shape[1:]:
                raise InputError(
                    f"{images.path}: expected images of shape {train.shape[1:]} as in train_inputs.npy, "
                    f"got {images.shape[1:]}"
                )
            if labels.max() > targets.max():
                raise InputError(
                    f"{self.root}: {part} has class {labels.max()}, but the classes of train end at {targets.max()}"
                )
        return parts

    @cached_property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return next(iter(self.parts.values()))[0].shape[1:]

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes from class_names.txt, or their numbers if there is no such file.

        Raises:
            InputError: The number of names differs from the number of classes, a name occurs twice, or there are fewer
                than two classes or more classes than images.
        """
        (_, targets), *_ = self.parts.values()
        count = int(targets.max()) + 1
        if count < 2:
            raise InputError(f"{self.root}: expected at least two classes, numbered from 0, but every target is 0")
        if count > len(targets):
            raise InputError(
                f"{self.root}: the targets of {len(targets)} images go up to {count - 1}; "
                "number the classes consecutively from 0"
            )
        path = self.root / "class_names.txt"
        if not path.exists():
            return [str(label) for label in range(count)]
        try:
            with open_regular(path) as file:
                lines = file.read().decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
        if len(names) != count or len(set(names)) != count:
            raise InputError(
                f"{path}: expected {count} different names, one per line, because the targets go up to {count - 1}; "
                f"got {len(names)} names, {len(set(names))} of them different"
            )
        return names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, ArrayDataset]:
        (images, targets), *_ = self.parts.values()
        fixed = {part: arrays for part, arrays in self.parts.items() if part in ("val", "test")}
        if self.split_spec.num_folds is not None and "val" in fixed:
            name = fixed["val"][0].path.name
            raise InputError(
                f"num_folds: {name} is the validation split, but folds are taken from train; remove one of them"
            )
        spec = replace(
            self.split_spec,
            val_size=0 if "val" in fixed else self.split_spec.val_size,
            test_size=0 if "test" in fixed else self.split_spec.test_size,
        )
        sizes = [len(labels) for _, labels in self.parts.values()]
        starts = dict(zip(self.parts, accumulate(sizes, initial=0), strict=False))
        fixed_splits = torch.full((sum(sizes),), -1)
        for part, (_, labels) in fixed.items():
            fixed_splits[starts[part] : starts[part] + len(labels)] = PARTS.index(part)
        if len(fixed) == 2:  # no other split is taken from train
            fixed_splits[: len(targets)] = PARTS.index("train")

        def propose() -> list[Tensor]:
            split = split_indices(targets, len(targets), spec)
            part_indices = {part: starts[part] + torch.arange(len(labels)) for part, (_, labels) in fixed.items()}
            return [part_indices.get(part, indices) for part, indices in zip(PARTS, split, strict=True)]

        contents = np.concatenate([self._digest(inputs, labels) for inputs, labels in self.parts.values()])
        splits = self.assign_splits(Fingerprint.of_rows(contents, sizes), propose, fixed_splits)
        check_trained_on(self.class_names, targets[splits["train"]], "image", ", or number the classes consecutively")
        datasets = {}
        for part, indices in splits.items():
            inputs, labels = fixed.get(part, (images, targets))
            rows = indices - starts[part] if part in fixed else indices
            rows = rows[(rows >= 0) & (rows < len(labels))]  # without rows that were moved into another split's file
            # MappedImages is indexed like a tensor, and an ArrayDataset needs no more.
            datasets[part] = ArrayDataset(cast(Tensor, inputs), labels, rows)
        return datasets

    def _digest(self, images: MappedImages, targets: Tensor) -> Digests:
        """Return the digest of each image and its target.

        If the images do not fit in memory, the digest covers only the target, to avoid reading all images.
        """
        if images.values.nbytes > self.memory_budget * 1e9:
            return digest_rows(targets)
        middle = images.values.flatten(1).shape[1] // 2
        return digest_rows(images.values.flatten(1)[:, max(middle - 256, 0) : middle + 256], targets)

    def load_predict(self, path: Path) -> ArrayDataset:
        if path.suffix != ".npy":
            return super().load_predict(path)
        images = MappedImages(path)
        if images.shape[1:] != tuple(self.input_shape):
            raise InputError(
                f"predict_path: {path}: expected images of shape {tuple(self.input_shape)} as in training, "
                f"got {images.shape[1:]}"
            )
        return ArrayDataset(cast(Tensor, images), torch.zeros(len(images), dtype=torch.uint8))

    def load_labeled(self, path: Path) -> ArrayDataset:
        """Return the images of `path/inputs.npy` and `path/targets.npy`, or image files in one folder per class."""
        if not (path / "inputs.npy").exists():
            return cast(ArrayDataset, super().load_labeled(path))
        images = self.load_predict(path / "inputs.npy")
        _, targets = _read_part(path, "")
        classes = self.trained_classes or []
        if targets.max() >= len(classes):
            raise InputError(f"{path}: targets.npy has the class {targets.max()}, but the run has only {len(classes)}")
        return ArrayDataset(images.inputs, targets)

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return new images: a .npy file, or what `ImageDataModule` reads."""
        if is_path(inputs) and Path(inputs).suffix == ".npy":
            return self.load_predict(Path(inputs))
        return super().read_inputs(inputs)

    def list_files(self, inputs: Any) -> list[Path] | None:
        is_array = is_path(inputs) and Path(inputs).suffix == ".npy"
        return None if is_array else super().list_files(inputs)

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the brightness of images, unless reading them again would take long."""
        split: Any = self.splits[part]
        if len(positions) * split.inputs.values[0].nbytes > _MAX_READ_AGAIN:
            return {}
        return {"brightness": brightness(split.inputs, split.indices[positions], self.white)}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is not None and not self.splits:
            self.input_shape = tuple(state_dict["input_shape"])
        else:
            check_classes(state_dict["class_names"], self.class_names)
            check_new_shape(self, state_dict)
        super().load_state_dict(state_dict)


def _find_prefixes(root: Path) -> dict[str, str]:
    """Return the prefix of the file names of each split, such as `train_`. Print which files are left out.

    Raises:
        InputError: Two files hold the inputs of the same split.
    """
    prefixes: dict[str, str] = {}
    for name in data_files(root):
        prefix = name.removesuffix("inputs.npy")
        if prefix in ("", name):
            continue
        part = SPLIT_OF.get(prefix.rstrip("_").lower())
        if part is None:
            print(f"{root}: {printable(name)} left out; expected train, val and test", flush=True)
            continue
        if part in prefixes:
            other = f"{prefixes[part]}inputs.npy"
            raise InputError(f"{root}: {other} and {name} both hold the {part} split; remove one of them")
        prefixes[part] = prefix
    return {part: prefixes[part] for part in PARTS if part in prefixes}


def _read_part(root: Path, prefix: str) -> tuple[MappedImages, Tensor]:
    """Return the memory-mapped inputs of a split and its targets, in their smallest dtype."""
    images, path = MappedImages(root / f"{prefix}inputs.npy"), root / f"{prefix}targets.npy"
    stored = open_array(path)
    if stored.shape != (len(images),):
        raise InputError(f"{path}: expected one class for each of the {len(images)} inputs, got shape {stored.shape}")
    if stored.dtype.kind not in "iu":
        raise InputError(f"{path}: expected integer classes from 0, got {stored.dtype}; save them as uint8")
    targets = np.array(stored)
    smallest, largest = int(targets.min()), int(targets.max())
    if smallest < 0 or largest >= 2**31:
        raise InputError(f"{path}: expected classes from 0, got {smallest if smallest < 0 else largest}")
    return images, torch.from_numpy(targets.astype(np.int64)).to(smallest_type(largest + 1))
