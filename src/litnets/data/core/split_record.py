"""The recorded split of a run, which keeps every sample in its split when the data change.

    record = SplitRecord.load(run.split)
    splits, changes = record.match(fingerprint)

A sample is recognized by its name and content, then by its content alone (it was renamed or moved), then by its name
alone (it was edited). An unrecognized sample was added. It is in no split, so that the recorded splits do not change.
If folders or files determine the splits, samples are in the split of their folder or file instead.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.fingerprint import ODD, Digests, Fingerprint
from litnets.data.core.splits import PARTS, SplitSpec
from litnets.errors import InputError
from litnets.safety.escaping import printable
from litnets.safety.files import open_regular, replacing

Indices = NDArray[np.int64]

_NO_SPLIT = len(PARTS)  # the index of a sample that is in no split
_VERSION = 1


@dataclass(frozen=True)
class DataChanges:
    """Differences between the data of a run and the current data, as numbers of samples.

    Args:
        kind: What a sample is called: `file`, `row` or `step`.
        added: Samples that the run did not have.
        left_out: Added samples that are in no split.
        changed: Samples whose content was edited. They stay in their split.
        missing: Samples that no longer exist.
        renamed: Samples with another name. They stay in their split.
        moved: Samples that were moved into the folder or file of another split.
        reordered: Whether the samples are in another order. Each split keeps the order of the run.
        examples: Names of up to three samples that were added, changed, renamed or moved, by the kind of change.
    """

    kind: str
    added: int = 0
    left_out: int = 0
    changed: int = 0
    missing: int = 0
    renamed: int = 0
    moved: int = 0
    reordered: bool = False
    examples: Mapping[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.reordered or any((self.added, self.changed, self.missing, self.renamed, self.moved))

    def __str__(self) -> str:
        """Return a summary, such as `2 files added and left out (a.png, b.png), 1 missing`."""
        return ", ".join(self._phrases())

    @property
    def affects_results(self) -> bool:
        """Whether the content of a split differs. It does not if samples were only renamed, reordered or left out."""
        return bool(self.changed or self.missing or self.moved or self.added > self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Return the nonzero counts, for results.json."""
        return {name: value for name, value in asdict(self).items() if value and name not in ("kind", "examples")}

    def _phrases(self) -> Iterator[str]:
        noun = self.kind
        for name in ("added", "changed", "renamed", "moved", "missing"):
            count = getattr(self, name)
            if not count:
                continue
            phrase = f"{count} {noun}{'s' if noun and count != 1 else ''} {name}".replace("  ", " ")
            if name == "added" and self.left_out:
                phrase += " and left out" if self.left_out == count else f" ({self.left_out} left out)"
            if name == "moved":
                phrase += " to another split"
            if shown := self.examples.get(name):
                phrase += f" ({', '.join(map(printable, shown))}{', ...' if count > len(shown) else ''})"
            noun = ""
            yield phrase
        if self.reordered:
            yield "rows in another order" if noun else "another order"


@dataclass(frozen=True)
class SplitRecord:
    """The samples of a run, in the order in which they were read, and the split of each sample.

    Args:
        datamodule: Name of the DataModule class.
        spec: How the samples were split; None if the data come with fixed splits.
        names: See `Fingerprint`.
        contents: See `Fingerprint`.
        order: Indices of the samples: the training split in its order, then validation, test, and the other samples.
        sizes: Number of samples in training, validation and test.
    """

    datamodule: str
    spec: SplitSpec | None
    names: Digests
    contents: Digests
    order: Indices
    sizes: Sequence[int]

    @classmethod
    def create(
        cls, datamodule: str, spec: SplitSpec | None, fingerprint: Fingerprint, splits: Mapping[str, Tensor]
    ) -> "SplitRecord":
        """Return the record of these splits.

        Args:
            datamodule: Name of the DataModule class.
            spec: How the samples were split; None if the data come with fixed splits.
            fingerprint: The samples.
            splits: Indices of the samples in train, val and test.
        """
        parts = [splits[part].numpy() for part in PARTS]
        rest = np.ones(len(fingerprint), bool)
        for part in parts:
            rest[part] = False
        order = np.concatenate([*parts, rest.nonzero()[0]])
        return cls(datamodule, spec, fingerprint.names, fingerprint.contents, order, [len(part) for part in parts])

    def save(self, path: Path) -> None:
        """Write the record atomically, as a NumPy archive."""
        head = json.dumps(
            {
                "version": _VERSION,
                "datamodule": self.datamodule,
                "spec": None if self.spec is None else asdict(self.spec),
                "sizes": list(self.sizes),
            }
        )
        with replacing(path) as file:
            np.savez(file, head=head, names=self.names, contents=self.contents, order=self.order.astype(np.uint32))

    @classmethod
    def load(cls, path: Path) -> "SplitRecord":
        """Read and verify a record.

        Raises:
            InputError: The file is damaged, cannot be read, or was written by a newer version of litnets.
        """
        try:
            with open_regular(path) as file, zipfile.ZipFile(file) as parts:
                # `save` compresses nothing, and a compressed kilobyte may hold a megabyte.
                if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                    raise ValueError("its parts are compressed")
            with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
                head = json.loads(str(archive["head"]))
                if head["version"] != _VERSION:
                    raise InputError(f"{path}: expected version {_VERSION}, got {head['version']}; update litnets")
                spec = None if head["spec"] is None else SplitSpec(**head["spec"])
                names, contents, order = archive["names"], archive["contents"], archive["order"].astype(np.int64)
                record = cls(str(head["datamodule"]), spec, names, contents, order, head["sizes"])
            if not record._is_consistent():
                raise ValueError("its parts do not fit together")
        except InputError:
            raise
        except PermissionError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        # The errors of a damaged archive have no common base: BadZipFile, zlib.error, EOFError, NotImplementedError ...
        except Exception as error:
            reason = "it is truncated" if isinstance(error, EOFError | zipfile.BadZipFile) else str(error)
            raise InputError(
                f"{path} is damaged ({reason}); replace it with a good copy, or delete it to split the data again"
            ) from error
        return record

    def _is_consistent(self) -> bool:
        size = len(self.order)
        typed = self.names.dtype == self.contents.dtype == np.uint64 and self.names.shape == self.contents.shape
        permutation = typed and self.names.shape == (size,) and bool((np.sort(self.order) == np.arange(size)).all())
        counts = len(self.sizes) == len(PARTS) and all(type(count) is int and count >= 0 for count in self.sizes)
        return permutation and counts and sum(self.sizes) <= size

    def check_spec(self, spec: SplitSpec | None) -> None:
        """Raise InputError if the options ask for another split than the recorded one."""
        if self.spec is None or spec is None:
            return
        recorded, requested = asdict(self.spec), asdict(spec)
        for name, value in requested.items():
            if value != recorded[name]:
                option = "split_seed" if name == "seed" else name
                raise InputError(
                    f"--data.{option}: the split of the run was made with {recorded[name]}, got {value}; "
                    "omit the option to keep the split, or split the data again with --split_again"
                )

    @property
    def split_of(self) -> NDArray[np.int64]:
        """Index in `PARTS` of the split of each sample, `(samples,)`; `len(PARTS)` for a sample in no split."""
        splits = np.full(len(self.order), _NO_SPLIT)
        splits[self.order] = np.repeat(np.arange(_NO_SPLIT + 1), [*self.sizes, len(self.order) - sum(self.sizes)])
        return splits

    def match(self, now: Fingerprint, fixed: Tensor | None = None) -> tuple[dict[str, Tensor], DataChanges]:
        """Apply the recorded split to the current samples.

        Args:
            now: The current samples.
            fixed: Index of the split of each sample whose folder or file determines it, -1 for the others.

        Returns:
            The indices of the current samples in each split, and the changes since the run.

        Raises:
            InputError: No sample belongs to the run, or time steps were added or removed in the middle of a series.
        """
        before, renamed, changed = self._align(now) if now.is_sequence else self._recognize(now)
        is_recognized = before >= 0
        place = np.argsort(self.order)  # position of each sample of the run in `order`
        # What the samples of a split are sorted by: first those of the run in its order, then the added ones.
        rank = np.where(is_recognized, place[before], len(self.order) + np.arange(len(now)))
        recorded = np.where(is_recognized, self.split_of[before], _NO_SPLIT)
        split = recorded
        is_moved = np.zeros(len(now), bool)
        if fixed is not None:
            is_fixed = fixed.numpy() >= 0
            split = np.where(is_fixed, fixed.numpy(), recorded)
            is_elsewhere = np.where(is_fixed, split != recorded, np.isin(recorded, fixed.numpy()))
            is_moved = is_recognized & is_elsewhere & (recorded != _NO_SPLIT)
            renamed = renamed & ~is_moved
        if not is_recognized.any() and (split == _NO_SPLIT).any():
            raise InputError(
                f"none of the {len(now)} {now.kind}s belongs to the run, which had {len(self.order)}; "
                "use the data of the run, split these with --split_again, or test on all of them with --on"
            )
        splits = {}
        for number, part in enumerate(PARTS):
            members = (split == number).nonzero()[0]
            splits[part] = torch.from_numpy(members[rank[members].argsort()])
        changes = {"added": ~is_recognized, "changed": changed, "renamed": renamed, "moved": is_moved}
        if now.is_positional:
            del changes["renamed"]  # a row with another position counts as reordered
        counts = {name: int(mask.sum()) for name, mask in changes.items()}
        examples = {
            name: [now.describe(int(index)) for index in mask.nonzero()[0][:3]]
            for name, mask in changes.items()
            if counts[name]
        }
        return splits, DataChanges(
            now.kind,
            **counts,
            left_out=int((~is_recognized & (split == _NO_SPLIT)).sum()),
            missing=len(self.order) - int(is_recognized.sum()),
            reordered=now.is_positional and self._is_reordered(now, before),
            examples=examples,
        )

    def _recognize(self, now: Fingerprint) -> tuple[Indices, NDArray[np.bool_], NDArray[np.bool_]]:
        """Recognize samples by their digests.

        Returns:
            For each current sample, its index in the run, -1 for an added sample; whether it was renamed; and whether
            it was changed.
        """
        before = np.full(len(now), -1)
        renamed, changed = np.zeros((2, len(now)), bool)
        if np.array_equal(self.names, now.names) and np.array_equal(self.contents, now.contents):
            return np.arange(len(now)), renamed, changed
        free = np.ones(len(self.order), bool)

        def pair(old: Digests, new: Digests, candidates: NDArray[np.bool_]) -> Indices:
            """Pair remaining samples by equal digests, and return the indices of the current samples in the pairs."""
            old_at, new_at = free.nonzero()[0], candidates.nonzero()[0]
            i, j = _equal_pairs(old[old_at], new[new_at])
            before[new_at[j]] = old_at[i]
            free[old_at[i]] = False
            return new_at[j]

        pair(self.names * ODD ^ self.contents, now.names * ODD ^ now.contents, before < 0)
        renamed[pair(self.contents, now.contents, before < 0)] = True
        # A sample whose content exists in the run is a copy, which must not enter another split.
        is_new = ~np.isin(now.contents, self.contents)
        changed[pair(self.names, now.names, (before < 0) & is_new)] = True
        return before, renamed, changed

    def _align(self, now: Fingerprint) -> tuple[Indices, NDArray[np.bool_], NDArray[np.bool_]]:
        """Recognize time steps by their time. Steps may be added or removed only at the ends of the series.

        Returns:
            See `_recognize`.
        """
        before = np.full(len(now), -1)
        old_at, new_at = _equal_pairs(self.names, now.names)
        before[new_at] = old_at
        if len(new_at):
            overlap = before[new_at.min() : new_at.max() + 1]
            gaps = (np.diff(overlap) != 1).nonzero()[0]
            if len(gaps):
                raise InputError(
                    f"steps were added or removed after {now.describe(int(new_at.min() + gaps[0]))}, in the middle of "
                    "the series of the run; undo that, split it again (test --split_again), or start a new run "
                    "(fit --init_from)"
                )
        changed = (before >= 0) & (self.contents[before] != now.contents)
        return before, np.zeros(len(now), bool), changed

    def _is_reordered(self, now: Fingerprint, before: Indices) -> bool:
        """Return whether the unchanged samples are in another order, where equal samples are interchangeable."""
        same = (before >= 0).nonzero()[0]
        same = same[self.contents[before[same]] == now.contents[same]]
        return not np.array_equal(self.contents[np.sort(before[same])], now.contents[same])


def _equal_pairs(old: Digests, new: Digests) -> tuple[Indices, Indices]:
    """Return the indices of equal digests. If a digest occurs several times, its k-th occurrences are paired."""
    _, old_at, new_at = np.intersect1d(_number_equal(old), _number_equal(new), return_indices=True)
    return old_at, new_at


def _number_equal(digests: Digests) -> Digests:
    """Make the digests unique by mixing k into the k-th occurrence of a digest."""
    order = digests.argsort(kind="stable")
    ranked = digests[order]
    numbered = np.empty_like(digests)
    numbered[order] = ranked + (np.arange(len(ranked)) - ranked.searchsorted(ranked)).astype(np.uint64) * ODD
    return numbered
