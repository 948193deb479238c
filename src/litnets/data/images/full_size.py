"""Images, each of its own size, in memory as far as they fit."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError
from litnets.errors import InputError

_memory_lock = threading.Lock()


class FullSizeImages:
    """Images, or masks, each of its own size, that are read from files.

    Those that fit in memory stay there once `load` has read them. The others are read again whenever they are indexed,
    except for the last one, which is kept for its next tile.

    Args:
        files: The files.
        read: Returns the pixels in a file, uint8, or raises BrokenFileError.
        memory: Memory for the pixels, in bytes.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Tensor], memory: float) -> None:
        self.files, self.read, self.memory = files, read, memory
        self.cache: dict[int, Tensor] = {}
        self._last: tuple[int, Tensor] | None = None

    def load(self, index: int) -> Tensor:
        """Read a file for the first time. This is thread-safe.

        Raises:
            BrokenFileError: It cannot be read.
        """
        pixels = self.read(self.files[index])
        with _memory_lock:
            if pixels.nbytes <= self.memory:
                self.memory -= pixels.nbytes
                self.cache[index] = pixels
        return pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        if index in self.cache:
            return self.cache[index]
        if self._last is None or self._last[0] != index:
            try:
                self._last = index, self.read(self.files[index])
            except BrokenFileError as error:
                raise InputError(f"{self.files[index]} can no longer be read: {error}") from error
        return self._last[1]
