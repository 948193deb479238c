"""Images in their own sizes, in memory as far as they fit."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError
from litnets.errors import InputError

_memory_lock = threading.Lock()


class FullSizeImages:
    """Images, or masks, each of its own size, that are read from files.

    Those that fit in memory are kept when they are read first. The others are read again whenever they are indexed,
    except that the last one is kept, for its next tile.

    Args:
        files: The files.
        read: Returns the pixels in a file, uint8. Raises BrokenFileError if it cannot.
        memory: Memory for the pixels, in bytes.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Tensor], memory: float) -> None:
        self.files, self.read, self.memory = files, read, memory
        self.kept: dict[int, Tensor] = {}
        self._last: tuple[int, Tensor] | None = None

    def load(self, index: int) -> Tensor:
        """Read a file for the first time. Threads may call this.

        Raises:
            BrokenFileError: It cannot be read.
        """
        pixels = self.read(self.files[index])
        with _memory_lock:
            if pixels.nbytes <= self.memory:
                self.memory -= pixels.nbytes
                self.kept[index] = pixels
        return pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        if self._last is None or self._last[0] != index:
            try:
                self._last = index, self.read(self.files[index])
            except BrokenFileError as error:
                raise InputError(f"{self.files[index]} can no longer be read: {error}") from error
        return self._last[1]
