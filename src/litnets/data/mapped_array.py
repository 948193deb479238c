"""Arrays in .npy files that are read where they lie: they may be larger than memory."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from litnets.errors import InputError


def open_array(path: Path) -> "np.memmap[Any, np.dtype[Any]]":
    """The array of a .npy file, mapped into memory and not read; it cannot be written to.

    Raises:
        InputError: The file is missing, no .npy file, too short, in Fortran's order, or holds Python objects.
    """
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
        self._announce(chosen)
        return self.values.index_select(0, chosen).view(*index.shape, *self.shape[1:])

    def _announce(self, chosen: Tensor) -> None:
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
