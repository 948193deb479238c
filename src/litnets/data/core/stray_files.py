"""Report files that may be in a data set by mistake: copies of other files, and files far smaller than the rest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.fingerprint import Digests
from litnets.data.core.splits import PARTS
from litnets.errors import abbreviate
from litnets.safety.escaping import printable

# Files are reported as small if they have less than this fraction of the median size, and are few.
_SMALL = 0.05
_FEW = 0.1  # at most this fraction of all files


def find_copies(contents: Digests, splits: Mapping[str, Tensor]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples that are copies of others. The original of equal samples is one in train, if there is one.

    Args:
        contents: Digest of the content of each sample.
        splits: Indices of the samples in each split. Other samples do not count.

    Returns:
        The indices of the copies and those of their originals, each `(copies,)`.
    """
    used = np.concatenate([np.sort(splits[part].numpy()) for part in PARTS])
    _, first, inverse = np.unique(contents[used], return_index=True, return_inverse=True)
    originals = used[first[inverse]]
    is_copy = originals != used
    return used[is_copy], originals[is_copy]


def report_copies(
    contents: Digests, labels: NDArray[Any], splits: Mapping[str, Tensor], kinds: str, name_of: Callable[[int], str]
) -> None:
    """Print how many samples are exact copies of others, with examples; copies in another split come first.

    Args:
        contents: Digest of the content of each sample.
        labels: Class of each sample.
        splits: Indices of the samples in each split. Other samples do not count.
        kinds: What the samples are called, such as `images`.
        name_of: Returns the name of a sample.
    """
    split_of = np.full(len(contents), -1)
    for number, part in enumerate(PARTS):
        split_of[splits[part].numpy()] = number
    copies, originals = find_copies(contents, splits)
    if not len(copies):
        return
    across_splits = split_of[copies] != split_of[originals]
    across_classes = labels[copies] != labels[originals]
    counts = [(across_splits.sum(), "in another split"), (across_classes.sum(), "in another class")]
    notes = ", ".join(f"{count} {where}" for count, where in counts if count)
    shown = np.argsort(-(2 * across_splits + across_classes), kind="stable")
    pairs = [f"{name_of(int(originals[i]))} = {name_of(int(copies[i]))}" for i in shown.tolist()]
    rank_zero_only(print)(
        f"{len(copies)} of {(split_of >= 0).sum()} {kinds} are copies of others"
        f"{f', {notes}' if notes else ''} ({printable(abbreviate(pairs, 3))})",
        flush=True,
    )


def report_small_files(files: Sequence[Path], kinds: str) -> None:
    """Print how many files are far smaller than the rest, such as an image that says "no image available"."""
    sizes = np.array([file.stat().st_size for file in files])
    typical = np.median(sizes)
    small = (sizes < _SMALL * typical).nonzero()[0]
    if 0 < len(small) <= max(1, _FEW * len(sizes)):
        shown = printable(abbreviate([str(files[i]) for i in small.tolist()], 3))
        rank_zero_only(print)(
            f"{len(small)} of {len(files)} {kinds} are far smaller than the rest, at most {sizes[small].max():,} "
            f"bytes, compared with a median of {typical:,.0f} bytes ({shown})",
            flush=True,
        )
