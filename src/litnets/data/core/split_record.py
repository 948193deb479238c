"""The split of a run, recorded with it, so that no sample changes its split when the data change.

    record = SplitRecord.load(run.split)
    splits, changes = record.match(fingerprint)

A sample is recognized by its name and content, then by its content alone (it was renamed or moved), then by its name
alone (it was edited). What is not recognized was added. It is in no split, so that nothing has to make room for it.
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
from litnets.escaping import printable
from litnets.files import open_regular, replacing

Indices = NDArray[np.int64]

_NO_SPLIT = len(PARTS)  # the number of what is in none of them
_VERSION = 1


@dataclass(frozen=True)
class DataChanges:
    """What differs between the data of a run and those that were read now, in samples.

    Args:
        kind: What a sample is called: `file`, `row`, `step`.
        added: Samples that the run did not have.
        left_out: How many of them are in no split.
        changed: Samples whose content was edited. They stay in their split.
        missing: Samples that are no longer there.
        renamed: Samples with another name. They stay in their split.
        moved: Samples that were moved into the folder or file of another split.
        reordered: Whether the samples are in another order. The order of a split stays that of the run.
        examples: Up to three names of samples that were added, changed, renamed or moved.
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
        """Return all of it as part of a sentence: `2 files added and left out (a.png, b.png), 1 missing`."""
        return ", ".join(self._phrases())

    @property
    def affects_results(self) -> bool:
        """Whether the splits hold other samples than they did: added ones are left out, and the order is kept."""
        return bool(self.changed or self.missing or self.moved or self.added > self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts that are not zero, for results.json."""
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
    """The samples of a run, in the order in which they were read, and the split of each.

    Args:
        datamodule: Name of the DataModule class.
        spec: How the samples were to be split; None where the data come split.
        names: See `Fingerprint`.
        contents: See `Fingerprint`.
        order: Indices of the samples: those of the training split in its order, then validation, test, and the rest.
        sizes: Samples of training, validation and test.
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
        """Record splits, given as indices of the samples."""
        parts = [splits[part].numpy() for part in PARTS]
        rest = np.ones(len(fingerprint), bool)
        for part in parts:
            rest[part] = False
        order = np.concatenate([*parts, rest.nonzero()[0]])
        return cls(datamodule, spec, fingerprint.names, fingerprint.contents, order, [len(part) for part in parts])

    def save(self, path: Path) -> None:
        """Write the record as a NumPy archive, completely or not at all."""
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
        """Read a record and verify it.

        Raises:
            InputError: The file is damaged, or a later version wrote it.
        """
        try:
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
        # What a damaged archive raises has no common base: BadZipFile, zlib.error, EOFError, NotImplementedError ...
        except Exception as error:
            reason = "it is cut off" if isinstance(error, EOFError | zipfile.BadZipFile) else str(error)
            raise InputError(
                f"{path} is damaged ({reason}); put a good copy there, or delete it to have the data split again"
            ) from error
        return record

    def _is_consistent(self) -> bool:
        size = len(self.order)
        typed = self.names.dtype == self.contents.dtype == np.uint64 and self.names.shape == self.contents.shape
        permutation = typed and self.names.shape == (size,) and bool((np.sort(self.order) == np.arange(size)).all())
        counts = len(self.sizes) == len(PARTS) and all(type(count) is int and count >= 0 for count in self.sizes)
        return permutation and counts and sum(self.sizes) <= size

    def check_spec(self, spec: SplitSpec | None) -> None:
        """Raise InputError if samples are to be split in another way than those of the run were."""
        if self.spec is None or spec is None:
            return
        before, now = asdict(self.spec), asdict(spec)
        for name, value in now.items():
            if value != before[name]:
                option = "split_seed" if name == "seed" else name
                raise InputError(
                    f"--data.{option}: the split of the run was made with {before[name]}, got {value}; "
                    "leave the option out to keep it, or split the data again with --split_again"
                )

    @property
    def split_of(self) -> NDArray[np.int64]:
        """The number of the split of each sample, `(samples,)`; that of what is in none comes last."""
        numbers = np.full(len(self.order), _NO_SPLIT)
        numbers[self.order] = np.repeat(np.arange(_NO_SPLIT + 1), [*self.sizes, len(self.order) - sum(self.sizes)])
        return numbers

    def match(self, now: Fingerprint, given: Tensor | None = None) -> tuple[dict[str, Tensor], DataChanges]:
        """Return the splits of the run, as indices of the samples that were read now, and what has changed.

        Args:
            now: The samples that were read now.
            given: The number of the split of each sample whose folder or file decides it, -1 for the others.

        Raises:
            InputError: None of the samples is one of the run, or steps were added or removed between others.
        """
        before, renamed, changed = self._align(now) if now.is_sequence else self._recognize(now)
        is_recognized = before >= 0
        place = np.argsort(self.order)  # of each sample of the run in its order
        rank = np.where(is_recognized, place[before], len(self.order) + np.arange(len(now)))
        recorded = np.where(is_recognized, self.split_of[before], _NO_SPLIT)
        split = recorded
        is_moved = np.zeros(len(now), bool)
        if given is not None:
            is_given = given.numpy() >= 0
            split = np.where(is_given, given.numpy(), recorded)
            is_elsewhere = np.where(is_given, split != recorded, np.isin(recorded, given.numpy()))
            is_moved = is_recognized & is_elsewhere & (recorded != _NO_SPLIT)
            renamed = renamed & ~is_moved
        if not is_recognized.any() and (split == _NO_SPLIT).any():
            raise InputError(
                f"none of the {len(now)} {now.kind}s is one of the {len(self.order)} of the run; "
                "split them with --split_again, or use the data of the run"
            )
        splits = {}
        for number, part in enumerate(PARTS):
            members = (split == number).nonzero()[0]
            splits[part] = torch.from_numpy(members[rank[members].argsort()])
        found = {"added": ~is_recognized, "changed": changed, "renamed": renamed, "moved": is_moved}
        if now.is_positional:
            del found["renamed"]  # it is only in another place
        counts = {name: int(flags.sum()) for name, flags in found.items()}
        examples = {
            name: [now.describe(int(index)) for index in flags.nonzero()[0][:3]]
            for name, flags in found.items()
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
        """Return the sample of the run that each sample is, -1 for none, and which are renamed and which changed."""
        before = np.full(len(now), -1)
        renamed, changed = np.zeros((2, len(now)), bool)
        if np.array_equal(self.names, now.names) and np.array_equal(self.contents, now.contents):
            return np.arange(len(now)), renamed, changed
        free = np.ones(len(self.order), bool)

        def pair(old: Digests, new: Digests, candidates: NDArray[np.bool_]) -> Indices:
            """Pair what is not paired yet by equal digests; return which samples have got one."""
            old_at, new_at = free.nonzero()[0], candidates.nonzero()[0]
            i, j = _equal_pairs(old[old_at], new[new_at])
            before[new_at[j]] = old_at[i]
            free[old_at[i]] = False
            return new_at[j]

        pair(self.names * ODD ^ self.contents, now.names * ODD ^ now.contents, before < 0)
        renamed[pair(self.contents, now.contents, before < 0)] = True
        # A sample with the content of another one is a copy of it, which may not get into another split.
        is_new = ~np.isin(now.contents, self.contents)
        changed[pair(self.names, now.names, (before < 0) & is_new)] = True
        return before, renamed, changed

    def _align(self, now: Fingerprint) -> tuple[Indices, NDArray[np.bool_], NDArray[np.bool_]]:
        """Do the same for steps of time, which are recognized by their time; only the ends may differ."""
        before = np.full(len(now), -1)
        old_at, new_at = _equal_pairs(self.names, now.names)
        before[new_at] = old_at
        if len(new_at):
            stretch = before[new_at.min() : new_at.max() + 1]
            gaps = (np.diff(stretch) != 1).nonzero()[0]
            if len(gaps):
                raise InputError(
                    f"steps were added or removed after {now.describe(int(new_at.min() + gaps[0]))}, in the middle of "
                    "the series of the run; undo that, split it again (test --split_again), or start a new run "
                    "(fit --init_from)"
                )
        changed = (before >= 0) & (self.contents[before] != now.contents)
        return before, np.zeros(len(now), bool), changed

    def _is_reordered(self, now: Fingerprint, before: Indices) -> bool:
        """Return whether the unchanged samples come in another order, equal ones being alike."""
        same = (before >= 0).nonzero()[0]
        same = same[self.contents[before[same]] == now.contents[same]]
        return not np.array_equal(self.contents[np.sort(before[same])], now.contents[same])


def _equal_pairs(old: Digests, new: Digests) -> tuple[Indices, Indices]:
    """Return the indices of equal digests; of several equal ones the k-th is paired with the k-th."""
    _, old_at, new_at = np.intersect1d(_number_equal(old), _number_equal(new), return_indices=True)
    return old_at, new_at


def _number_equal(digests: Digests) -> Digests:
    """Return digests that differ, and do so in the same way everywhere: the k-th of equal ones gets k mixed in."""
    order = digests.argsort(kind="stable")
    ranked = digests[order]
    numbered = np.empty_like(digests)
    numbered[order] = ranked + (np.arange(len(ranked)) - ranked.searchsorted(ranked)).astype(np.uint64) * ODD
    return numbered
