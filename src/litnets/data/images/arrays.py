"""ImageArrays: the user's own images in NumPy arrays on disk, which may be larger than memory."""

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

from litnets.data.core.base import SplitDataModule, check_new_shape
from litnets.data.core.batching import ArrayDataset, smallest_type
from litnets.data.core.class_folders import check_classes
from litnets.data.core.fingerprint import Digests, Fingerprint, digest_rows
from litnets.data.core.splits import PARTS, check_trained_on, split_indices
from litnets.data.images.base import ImageDataModule
from litnets.errors import InputError
from litnets.files import is_regular, open_regular


def open_array(path: Path) -> "np.memmap[Any, np.dtype[Any]]":
    """The array of a .npy file, mapped into memory and not read; it cannot be written to.

    Raises:
        InputError: The file is missing, no .npy file, too short, in Fortran's order, or holds Python objects.
    """
    if path.exists() and not is_regular(path):
        raise InputError(f"{path} is no regular file")
    try:
        # A mapping that copies what is written to (mode "c") would count as memory from the start, and the system
        # refuses one that is larger than it has.
        array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a broken header raises ValueError, TokenError, TypeError, SyntaxError ...
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no whole .npy file of numbers ({reason}); write it anew with np.save") from error
    if not array.flags.c_contiguous:
        raise InputError(
            f"{path} is in Fortran's order, a sample here and there in the whole file; save np.ascontiguousarray of it"
        )
    return array


class MappedImages:
    """The images of a .npy file, `(N, H, W)` or `(N, C, H, W)` of uint8, indexed as if they were the tensor
    `(N, C, H, W)`. Only what is indexed is read, and what the system keeps of it gives way when memory is needed.

    Another process gets the path, not the content.

    Args:
        path: The file.

    Raises:
        InputError: See `open_array`; other numbers than uint8, another shape, no image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        array = open_array(path)
        if array.dtype != np.uint8:
            raise InputError(f"{path}: expected uint8, values from 0 to 255, got {array.dtype}; scale and save them so")
        if array.ndim not in (3, 4) or not array.size:
            raise InputError(
                f"{path}: expected images, (N, height, width) or (N, channels, height, width), got {array.shape}"
            )
        if array.ndim == 4 and array.shape[3] <= 4 < array.shape[1]:
            raise InputError(
                f"{path}: expected (N, channels, height, width), got {array.shape}, whose channels seem to come last; "
                "save np.ascontiguousarray(np.moveaxis(images, -1, 1))"
            )
        self._map: mmap.mmap = array.base  # type: ignore[assignment]
        self._start = array.offset % mmap.ALLOCATIONGRANULARITY  # of the first image in the map
        self._size = array.nbytes // len(array)  # of an image
        values = from_dlpack(array)  # what from_numpy gives, which warns that it must not be written to
        self.values = values if values.ndim == 4 else values.unsqueeze(1)
        self.shape = tuple(self.values.shape)

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedImages, (self.path,)

    def __getitem__(self, index: Tensor) -> Tensor:
        """A copy: one image for a single index, a batch for several."""
        chosen = index.flatten()
        self._prefetch(chosen)
        return self.values.index_select(0, chosen).view(*index.shape, *self.shape[1:])

    def _prefetch(self, chosen: Tensor) -> None:
        """Tell the system which images come next, so that it reads them all at once. Otherwise it would read one after
        the other, each with all that stands around it, of which a shuffled batch needs nothing: a hundredth of the
        speed."""
        # What stands together the system reads ahead by itself, and better. Windows takes no such advice.
        together = len(chosen) < 2 or chosen.max() - chosen.min() < 2 * len(chosen)
        if together or not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = chosen * self._size + self._start
        pages = starts // mmap.PAGESIZE * mmap.PAGESIZE  # where advice has to begin
        for page, length in zip(pages.tolist(), (starts - pages + self._size).tolist(), strict=True):
            self._map.madvise(mmap.MADV_WILLNEED, page, length)


class ImageArrays(SplitDataModule, ImageDataModule):
    """Your own images in NumPy arrays on disk, also such that are larger than memory.

    `root/inputs.npy` and `root/targets.npy` are split; of `root/{train,val,test}_inputs.npy` and `..._targets.npy` each
    is left as it is, and val and test are cut from train if they are not there. Inputs are uint8, `(N, height, width)`
    or `(N, channels, height, width)`; targets `(N,)` are the classes, whole numbers from 0, and `root/class_names.txt`
    may name them, a line each.

    Inputs are not read into memory but mapped: each batch reads its own images, and what the system keeps of the files
    gives way when memory is needed. Where it has no room for them, `num_workers` 1 reads batches while another one is
    trained on. All of the training split is read once before it, for its mean and standard deviation. Such a file is
    written bit by bit::

        inputs = np.lib.format.open_memmap("root/inputs.npy", "w+", np.uint8, (1_000_000, 3, 64, 64))
        for start in range(0, len(inputs), 1000):
            inputs[start : start + 1000] = ...

    Args:
        root: The folder.
        predict_path: New images for `predict`: a .npy file of the shape of those of the training, or pictures, a folder
            of them, at any depth, or a single one, which are brought to that shape. The files of the training are not
            read then.
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
        """Inputs and targets of each of train, val and test that has files of its own, or of "", which is split.

        Raises:
            InputError: Files that are missing or do not belong together, targets that are no classes.
        """
        names = [part for part in PARTS if (self.root / f"{part}_inputs.npy").exists()]
        if (self.root / "inputs.npy").exists():
            if names:
                raise InputError(f"{self.root} has inputs.npy and {names[0]}_inputs.npy; leave one of them there")
            return {"": _read_part(self.root, "")}
        if "train" not in names:
            missing = "no such folder" if not self.root.is_dir() else "neither inputs.npy nor train_inputs.npy in it"
            raise InputError(f"{self.root}: {missing}; give --data.root, the folder of the arrays")
        parts = {part: _read_part(self.root, f"{part}_") for part in names}
        train, targets = parts["train"]
        for part, (images, labels) in parts.items():
            if images.shape[1:] != train.shape[1:]:
                raise InputError(
                    f"{images.path}: expected images of shape {train.shape[1:]} as in train_inputs.npy, "
                    f"got {images.shape[1:]}"
                )
            if labels.max() > targets.max():
                raise InputError(f"{self.root}: {part} has class {labels.max()}, and train none beyond {targets.max()}")
        return parts

    @cached_property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return next(iter(self.parts.values()))[0].shape[1:]

    @cached_property
    def class_names(self) -> list[str]:
        """As in class_names.txt, or else the numbers.

        Raises:
            InputError: Other names than there are classes, or two alike; fewer than two classes, or more than images.
        """
        (_, targets), *_ = self.parts.values()
        number = int(targets.max()) + 1
        if number < 2:
            raise InputError(f"{self.root}: expected at least two classes, numbered from 0, and every target is 0")
        if number > len(targets):
            raise InputError(
                f"{self.root}: the targets of {len(targets)} images go up to {number - 1}; "
                "number the classes from 0, leaving no number out"
            )
        path = self.root / "class_names.txt"
        if not path.exists():
            return [str(label) for label in range(number)]
        try:
            with open_regular(path) as file:
                lines = file.read().decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
        if len(names) != number or len(set(names)) != number:
            raise InputError(
                f"{path}: expected {number} different names, one a line, as the targets go up to {number - 1}; "
                f"got {len(names)}, {len(set(names))} of them different"
            )
        return names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, ArrayDataset]:
        (images, targets), *_ = self.parts.values()
        fixed = {part: arrays for part, arrays in self.parts.items() if part in ("val", "test")}
        if self.split_spec.num_folds is not None and "val" in fixed:
            raise InputError("num_folds: val_inputs.npy is the validation split; folds are cut from train_inputs.npy")
        spec = replace(
            self.split_spec,
            val_size=0 if "val" in fixed else self.split_spec.val_size,
            test_size=0 if "test" in fixed else self.split_spec.test_size,
        )
        sizes = [len(labels) for _, labels in self.parts.values()]
        starts = dict(zip(self.parts, accumulate(sizes, initial=0), strict=False))
        given = torch.full((sum(sizes),), -1)
        for part, (_, labels) in fixed.items():
            given[starts[part] : starts[part] + len(labels)] = PARTS.index(part)
        if len(fixed) == 2:  # nothing is taken from train
            given[: len(targets)] = PARTS.index("train")

        def propose() -> list[Tensor]:
            split = split_indices(targets, len(targets), spec)
            own = {part: starts[part] + torch.arange(len(labels)) for part, (_, labels) in fixed.items()}
            return [own.get(part, indices) for part, indices in zip(PARTS, split, strict=True)]

        contents = np.concatenate([self._digest(inputs, labels) for inputs, labels in self.parts.values()])
        splits = self.assign_splits(Fingerprint.of_rows(contents, sizes), propose, given)
        check_trained_on(self.class_names, targets[splits["train"]], "image", ", or close the gap in the numbers")
        datasets = {}
        for part, indices in splits.items():
            inputs, labels = fixed.get(part, (images, targets))
            own = indices - starts[part] if part in fixed else indices
            own = own[(own >= 0) & (own < len(labels))]  # without what was moved into the file of another split
            # An ArrayDataset asks of its inputs no more than to be indexed.
            datasets[part] = ArrayDataset(cast(Tensor, inputs), labels, own)
        return datasets

    def _digest(self, images: MappedImages, targets: Tensor) -> Digests:
        """Return the digest of each image and its target: of the target alone if the images do not fit in memory, which
        would all have to be read for it."""
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
                f"predict_path: {path}: expected images of shape {tuple(self.input_shape)} as in the training, "
                f"got {images.shape[1:]}"
            )
        return ArrayDataset(cast(Tensor, images), torch.zeros(len(images), dtype=torch.uint8))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is not None and not self.splits:
            self.input_shape = tuple(state_dict["input_shape"])
        else:
            check_classes(state_dict["class_names"], self.class_names)
            check_new_shape(self, state_dict)
        super().load_state_dict(state_dict)


def _read_part(root: Path, prefix: str) -> tuple[MappedImages, Tensor]:
    """Inputs, mapped, and targets, read, in their smallest type."""
    images, path = MappedImages(root / f"{prefix}inputs.npy"), root / f"{prefix}targets.npy"
    stored = open_array(path)
    if stored.shape != (len(images),):
        raise InputError(f"{path}: expected a class for each of the {len(images)} inputs, got shape {stored.shape}")
    if stored.dtype.kind not in "iu":
        raise InputError(f"{path}: expected whole numbers, the classes from 0, got {stored.dtype}; save them as uint8")
    targets = np.array(stored)
    least, most = int(targets.min()), int(targets.max())
    if least < 0 or most >= 2**31:
        raise InputError(f"{path}: expected classes from 0, got {least if least < 0 else most}")
    return images, torch.from_numpy(targets.astype(np.int64)).to(smallest_type(most + 1))
