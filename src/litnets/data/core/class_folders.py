"""Data sets with one folder per class: listing, splitting and reading their files."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from litnets.data.core.fingerprint import Digests, Fingerprint
from litnets.data.core.groups import groups_in, name_groups
from litnets.data.core.listing import data_files, explain_twins, real_files_in, subfolders
from litnets.data.core.predefined_splits import find_splits, fixed_splits, split_the_rest
from litnets.data.core.read_ahead import reading_stopped
from litnets.data.core.splits import SplitSpec, check_trained_on, split_indices
from litnets.errors import InputError, abbreviate, did_you_mean
from litnets.safety.escaping import printable
from litnets.safety.files import NotRegularFileError, open_regular

T = TypeVar("T")

MAX_BYTES = 2**31  # size of the file of a sample


@dataclass(frozen=True)
class ClassFolders:
    """The files in `root/class/`, or in `root/split/class/` (see `find_splits`), including subfolders.

    Args:
        root: The folder.
        class_names: Names of the class folders, sorted.
        files: All files, sorted by split, class and path.
        targets: Class of each file, `(files,)`.
        parts: Indices of the files in each of the folders train, val and test that exist; empty if `root` contains the
            class folders.
    """

    root: Path
    class_names: list[str]
    files: list[Path]
    targets: Tensor
    parts: dict[str, Tensor]

    @classmethod
    def scan(cls, root: Path, suffixes: Collection[str], kind: str) -> "ClassFolders":
        """List the files of a folder without opening them. Ignore system files and folders, and other suffixes.

        Args:
            root: The folder.
            suffixes: Suffixes of the files, in lower case, with the dot.
            kind: What a file is called in messages, such as `image`.

        Raises:
            InputError: The folder does not exist, cannot be read, or has fewer than two classes; a class has no file;
                a split has a class that train does not have; a file is linked into two classes or splits. See also
                `find_splits`.
        """
        try:
            return cls._scan(root, suffixes, kind)
        except OSError as error:
            raise InputError(f"{root}: the folder cannot be read: {error}") from error

    @classmethod
    def _scan(cls, root: Path, suffixes: Collection[str], kind: str) -> "ClassFolders":
        if not root.is_dir():
            problem = "is a file, not a folder" if root.exists() else "does not exist"
            raise InputError(f"{root} {problem}; set --data.root to a folder that has a folder of {kind}s per class")
        splits = find_splits(root)
        part_folders = splits or {"": root}
        train = part_folders["train" if splits else ""]
        class_names = subfolders(train)
        if len(class_names) < 2:
            found = f"only {class_names[0]}" if class_names else "none"
            raise InputError(f"{train}: expected at least two folders, one per class, found {found}")
        files: dict[Path, str] = {}
        targets: list[int] = []
        part_indices: dict[str, Tensor] = {}
        for part, folder in part_folders.items():
            start = len(files)
            check_known_classes(folder, subfolders(folder), train, class_names)
            for name, class_files in list_classes(folder, suffixes, kind, root).items():
                files |= class_files
                targets += [class_names.index(name)] * len(class_files)
            part_indices[part] = torch.arange(start, len(files))
        check_linked_once(files)
        return cls(root, class_names, list(files), torch.tensor(targets), part_indices if splits else {})

    def fingerprint(self, contents: Digests) -> Fingerprint:
        """Return the fingerprint of the files, given the digests of their contents."""
        return Fingerprint.of_files(self.root, self.files, contents)

    def fixed_splits(self, spec: SplitSpec) -> Tensor | None:
        """Return the split of each file whose folder determines it; see `fixed_splits`."""
        return fixed_splits(self.parts, len(self.files), spec)

    def name_groups(self, pattern: str) -> Tensor:
        """Return the group of each file, by its path in the folder of its class; see `litnets.data.core.groups`."""
        return name_groups(self.files, len(self.root.parts) + (2 if self.parts else 1), pattern)

    def split(self, spec: SplitSpec, groups: Tensor | None = None) -> list[Tensor]:
        """Return the indices of train, val and test; see `split_the_rest`.

        Args:
            spec: Sizes, seed and folds.
            groups: Group of each file, `(files,)`; None if each file is a group. Files of a group stay in one split,
                unless folders determine the split.

        Raises:
            InputError: The sizes or folds leave no file for training, or a class that has to be split has one file.
        """
        return split_the_rest(self.parts, len(self.files), spec, partial(self._split, groups))

    def _split(self, groups: Tensor | None, pool: Tensor, spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
        labels = self.targets[pool]
        if not (spec.val_size or spec.test_size or spec.num_folds is not None):
            return split_indices(labels, len(labels), spec)
        for name, count in zip(self.class_names, labels.bincount(minlength=len(self.class_names)), strict=True):
            if count == 1:
                raise InputError(
                    f"class '{name}' has a single file, which cannot be split; add files or remove the class"
                )
        return split_indices(labels, len(labels), spec, groups_in(pool, groups))

    def check_trained_on(self, train: Tensor) -> None:
        """Raise InputError if a class has no file in the training split, whose indices are `train`."""
        check_trained_on(self.class_names, self.targets[train], "file")


def check_known_classes(
    where: Path | str, class_names: Iterable[str], train: Path | str, train_classes: Sequence[str]
) -> None:
    """Raise InputError if a split has classes that the training split does not have.

    Args:
        where: Folder or file of the split.
        class_names: Classes of the split.
        train: Folder or file of the training split.
        train_classes: Classes of the training split.
    """
    unknown = [name for name in class_names if name not in train_classes]
    if not unknown:
        return
    hint = explain_twins(unknown[0], train_classes)
    if not hint and len(unknown) == 1:
        hint = did_you_mean(unknown[0], train_classes).removeprefix("; ")
    raise InputError(
        f"{where} has the class{'es' * (len(unknown) > 1)} {abbreviate(unknown)}, but {train} has only "
        f"{abbreviate(train_classes)} to train on{f'; {hint}' if hint else ''}"
    )


def folder_targets(path: Path, names: Sequence[str], trained_classes: Sequence[str]) -> Tensor:
    """Return the class index of each file, `(files,)`, which is that of its folder in `path`.

    Args:
        path: The folder with one folder per class.
        names: Path of each file, relative to `path`.
        trained_classes: Names of the classes, in the order of their indices.

    Raises:
        InputError: A file is outside the class folders, or a class was not trained on.
    """
    folders = [name.partition("/") for name in names]
    loose = [name for name, separator, _ in folders if not separator]
    if loose:
        raise InputError(
            f"{path} has files outside the class folders ({abbreviate(loose, 3)}); expected one folder per class, with "
            f"the names {abbreviate(trained_classes)}"
        )
    check_known_classes(path, dict.fromkeys(name for name, _, _ in folders), Path("the run"), trained_classes)
    indices = {name: index for index, name in enumerate(trained_classes)}
    return torch.tensor([indices[name] for name, _, _ in folders])


def report_absent_classes(counts: Sequence[int], trained_classes: Sequence[str]) -> None:
    """Print which classes of the training have no sample in new data, so that their metrics mean nothing."""
    absent = [name for name, count in zip(trained_classes, counts, strict=True) if not count]
    if absent:
        print(f"data: no sample of {printable(abbreviate(absent))}", flush=True)


def list_classes(folder: Path, suffixes: Collection[str], kind: str, root: Path) -> dict[str, dict[Path, str]]:
    """Return the real path of each file in each subfolder of a folder, whose name is the class.

    Print which other files are left out.

    Args:
        folder: The folder.
        suffixes: Suffixes of the files, in lower case, with the dot.
        kind: What a file is called in messages, such as `image`.
        root: A folder around `folder`, to which no link may lead back.

    Raises:
        InputError: There is no class, or a class has no file.
    """
    names = subfolders(folder)
    _report_loose_files(folder, suffixes, kind)
    if not names:
        raise InputError(
            f"{folder} contains no class; expected a folder of {kind}s per class. Move {kind}s without classes out of "
            f"{root}, and predict them with --data.predict_path"
        )
    others: Counter[str] = Counter()
    classes = {name: real_files_in(folder / name, suffixes, root, others) for name in names}
    for name, files in classes.items():
        if not files:
            known = ", ".join(sorted(suffixes))
            raise InputError(f"{folder / name} contains no {kind} ({known}); add some or remove the folder")
    if others:
        by_count = sorted(others.items(), key=lambda item: (-item[1], item[0]))
        counts = [f"{count} {suffix or 'without a suffix'}" for suffix, count in by_count]
        print(f"{folder}: left out files that are not {kind}s: {printable(abbreviate(counts))}", flush=True)
    return classes


def _report_loose_files(folder: Path, suffixes: Collection[str], kind: str) -> None:
    """Print which files lie next to the class folders, and thus have no class."""
    names = [name for name in data_files(folder) if Path(name).suffix.lower() in suffixes]
    if names:
        shown = printable(abbreviate(names, 3))
        print(f"{folder}: {len(names)} {kind}s outside the class folders left out ({shown})", flush=True)


def check_linked_once(files: Mapping[Path, str]) -> None:
    """Raise InputError if two paths lead to the same real file.

    Args:
        files: The real path of each file.
    """
    first_paths: dict[str, Path] = {}
    twice = [(first, path) for path, real in files.items() if (first := first_paths.setdefault(real, path)) != path]
    if twice:
        named = _on_lines([f"{first} = {path}" for first, path in twice], 3)
        raise InputError(f"{len(twice)} files are linked into two classes or splits; keep one link to each{named}")


def _on_lines(items: Sequence[str], limit: int) -> str:
    """Return up to `limit` items, each on an indented line of its own, and the number of the others."""
    lines = [printable(item) for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"and {len(items) - limit} more")
    return "".join(f"\n  {line}" for line in lines)


class BrokenFileError(Exception):
    """A file that cannot be read. The message is the reason, without the path."""


def read_content(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        BrokenFileError: The file cannot be read, is not a regular file, or is too large to be a sample.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except NotRegularFileError as error:
        raise BrokenFileError(str(error).removeprefix(f"{path} is ")) from error
    except OSError as error:
        raise BrokenFileError(error.strerror or str(error)) from error
    if len(content) > MAX_BYTES:
        raise BrokenFileError(f"more than {MAX_BYTES:,} bytes")
    return content


def read_all(
    files: Sequence[Path], read: Callable[[int], T], skip_broken: bool, kind: str
) -> tuple[list[T | None], Tensor]:
    """Read all files, with one thread per CPU core, since decoders release the GIL.

    Args:
        files: The files.
        read: Reads the file with this index; raises BrokenFileError if it is broken.
        skip_broken: Whether to skip broken files instead of raising an error.
        kind: What a file is called in messages, such as `image`.

    Returns:
        The result for each file, None for a broken file, and the mask of the broken files, `(files,)`.

    Raises:
        InputError: Files are broken and `skip_broken` is False, or all files are broken.
    """
    problems: dict[int, str] = {}
    stopped = reading_stopped.get()  # read here, because the threads of the pool do not have it

    def attempt(index: int) -> T | None:
        if stopped.is_set():
            raise CancelledError
        try:
            return read(index)
        except BrokenFileError as error:
            problems[index] = str(error)
            return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(attempt, range(len(files))))
    broken = torch.zeros(len(files), dtype=torch.bool)
    if problems:
        if len(files) == 1:
            raise InputError(f"{files[0]}: {problems[0]}")
        broken[list(problems)] = True
        details = _on_lines([f"{files[i]}: {problems[i]}" for i in sorted(problems)], 5)
        summary = f"{len(problems)} of {len(files)} {kind}s cannot be read"
        if not skip_broken:
            raise InputError(f"{summary}; fix or remove them, or skip them with --data.skip_broken true{details}")
        if broken.all():
            raise InputError(f"{summary}, so no {kind} is left{details}")
        print(f"{summary}, skipped:{details}", flush=True)
    return results, broken


def check_classes(trained_classes: list[str], class_names: list[str]) -> None:
    """Raise InputError if a checkpoint was trained on other classes than the data have."""
    if trained_classes != class_names:
        hints = [explain_twins(name, trained_classes) for name in class_names]
        hint = next((f"; {hint}" for hint in hints if hint), "")
        raise InputError(
            f"the checkpoint was trained on the classes {', '.join(trained_classes)}; "
            f"these data have {', '.join(class_names)}{hint}"
        )
