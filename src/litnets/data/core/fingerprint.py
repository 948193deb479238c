"""Fingerprints of samples: 64-bit digests of their names and contents, by which a later command recognizes them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh3_64_intdigest

Digests = NDArray[np.uint64]  # (samples,)

# An odd number whose bits look random (2^64 divided by the golden ratio); a product with it is invertible.
ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Fingerprint:
    """Digests that identify the samples of a data set, in the order in which they were read.

    Args:
        names: Digest of the name of each sample, `(samples,)`: the path of a file or the position of a row.
        contents: Digest of the content of each sample, `(samples,)`.
        kind: What a sample is called in messages: `file`, `row` or `step`.
        describe: Returns the name of the sample with this index, for messages. It can be pickled, because
            `ddp_spawn` sends the DataModule to its processes.
        is_positional: Whether names are positions, which change if a row is inserted.
        is_sequence: Whether samples are time steps, whose order matters.
    """

    names: Digests
    contents: Digests
    kind: str
    describe: Callable[[int], str]
    is_positional: bool = False
    is_sequence: bool = False

    @classmethod
    def of_files(cls, root: Path, files: Sequence[Path | str], contents: Digests) -> "Fingerprint":
        """Return the fingerprint of files, whose names are their paths relative to `root`."""
        start = len(str(root / "x")) - 1  # of the name in `root`; Path.relative_to takes 20 times as long
        paths = [str(file)[start:].replace("\\", "/") for file in files]
        return cls(
            digest_each(path.encode("utf-8", "surrogateescape") for path in paths), contents, "file", paths.__getitem__
        )

    @classmethod
    def of_rows(cls, contents: Digests, part_sizes: Sequence[int] = ()) -> "Fingerprint":
        """Return the fingerprint of rows, whose names are their positions within their file.

        Args:
            contents: Digest of each row.
            part_sizes: Number of rows of each file, if there are several. Rows of different files get different names.
        """
        sizes = list(part_sizes) or [len(contents)]
        positions = [np.arange(size, dtype=np.uint64) + np.uint64(part << 48) for part, size in enumerate(sizes)]
        return cls(np.concatenate(positions), contents, "row", _row, is_positional=True)

    @classmethod
    def of_verified(cls, size: int) -> "Fingerprint":
        """Return the fingerprint of rows of a file with a verified checksum, whose contents cannot change."""
        return cls.of_rows(np.zeros(size, np.uint64))

    def __len__(self) -> int:
        return len(self.names)


def _row(index: int) -> str:
    return f"row {index + 1}"


def digest_each(values: Iterable[bytes]) -> Digests:
    """Return the digest of each value."""
    return np.fromiter(map(xxh3_64_intdigest, values), np.uint64)


def digest_rows(*parts: NDArray[Any] | Tensor) -> Digests:
    """Return a digest of each row over all arrays, each of shape `(rows, ...)`.

    Zeros at the end of a row do not change its digest.
    """
    total = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        array = part.numpy() if isinstance(part, Tensor) else part
        rows = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
        words = np.zeros((len(rows), -(-rows.shape[1] // 8)), np.uint64)
        words.view(np.uint8)[:, : rows.shape[1]] = rows
        # A sum of products with random odd numbers. Its high bits depend on all bits of the words, but its low bits
        # depend only on their low bits, hence the shifts before and after.
        weights = np.random.default_rng(0).integers(0, 2**64, words.shape[1], np.uint64) | np.uint64(1)
        mixed = (words ^ (words >> np.uint64(31))) @ weights
        total = (total ^ mixed ^ (mixed >> np.uint64(32))) * ODD
    return total
