"""Folders of files with a folder for each class: what they hold, how they are split, and reading all of their files."""

import os
import stat
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from litnets.data.core.fingerprint import Digests, Fingerprint
from litnets.data.core.splits import PARTS, SplitSpec, check_trained_on, split_indices
from litnets.errors import InputError
from litnets.escaping import printable
from litnets.files import NotRegularFileError, open_regular

T = TypeVar("T")

MAX_BYTES = 2**31  # of the file of one sample


@dataclass(frozen=True)
class ClassFolders:
    """The files below `root/class/` or below `root/{train,val,test}/class/`, at any depth.

    Args:
        root: The folder.
        class_names: The classes, sorted: the folders' names.
        files: All files, in the order of part, class and path.
        targets: Class of each file, `(files,)`.
        parts: Indices of the files of each of the folders train, val and test that are there; empty for a folder of
            classes, which is split.
    """

    root: Path
    class_names: list[str]
    files: list[Path]
    targets: Tensor
    parts: dict[str, Tensor]

    @classmethod
    def scan(cls, root: Path, suffixes: Collection[str], kind: str) -> "ClassFolders":
        """List a folder without opening a file. Hidden files and folders are left out, and so is what has another
        suffix. A class that is trained may be missing from val or test, but not the other way round.

        Args:
            root: The folder.
            suffixes: Suffixes of the files, in lower case, with the dot.
            kind: What the files are, for messages: `image`.

        Raises:
            InputError: No such folder, one that cannot be read, no classes or fewer than two, a class without a file,
                classes in val or test that train does not have, folders beside train, val and test.
        """
        try:
            return cls._scan(root, suffixes, kind)
        except OSError as error:
            raise InputError(f"{root}: the folder cannot be read: {error}") from error

    @classmethod
    def _scan(cls, root: Path, suffixes: Collection[str], kind: str) -> "ClassFolders":
        if not root.is_dir():
            what = "is a file, not a folder" if root.exists() else "is not there"
            raise InputError(f"{root} {what}; give --data.root, a folder with a folder of {kind}s for each class")
        tops = subfolders(root)
        split = "train" in tops and bool(subfolders(root / "train"))  # else "train" is a class, as it is of vehicles
        if not split and tops and set(tops) <= set(PARTS):
            raise InputError(f"{root} has {', '.join(tops)}, but no train/ with a folder of {kind}s for each class")
        if split and (others := sorted(set(tops) - set(PARTS))):
            raise InputError(
                f"{root} has a folder train and beside it {', '.join(others)}: expected train, val and test only"
            )
        parts = [part for part in PARTS if part in tops] if split else [""]
        class_names = subfolders(root / parts[0])
        if len(class_names) < 2:
            found = f"only {class_names[0]}" if class_names else "none"
            raise InputError(f"{root / parts[0]}: expected at least two folders, one a class, found {found}")
        files: list[Path] = []
        targets: list[int] = []
        where: dict[str, Tensor] = {}
        for part in parts:
            start = len(files)
            for name in subfolders(root / part):
                if name not in class_names:
                    raise InputError(f"{root / part / name}: {root / parts[0]} has no class '{name}' to learn it from")
                found_files = files_in(root / part / name, suffixes)
                if not found_files:
                    raise InputError(
                        f"{root / part / name}: no {kind} in it ({', '.join(sorted(suffixes))}); "
                        "put some there or remove the folder"
                    )
                files += found_files
                targets += [class_names.index(name)] * len(found_files)
            if len(files) == start:
                raise InputError(f"{root / part}: no class in it; expected a folder of {kind}s for each class")
            where[part] = torch.arange(start, len(files))
        return cls(root, class_names, files, torch.tensor(targets), where if split else {})

    def fingerprint(self, contents: Digests) -> Fingerprint:
        return Fingerprint.of_files(self.root, self.files, contents)

    def given_splits(self, spec: SplitSpec) -> Tensor | None:
        """Return the number of the split of each file whose folder decides it, -1 for the others; None if all are to be
        split."""
        fixed = self._fixed(spec)
        if not fixed:
            return None
        if len(fixed) == 2:  # nothing is taken from train
            fixed["train"] = self.parts["train"]
        numbers = torch.full((len(self.files),), -1)
        for part, indices in fixed.items():
            numbers[indices] = PARTS.index(part)
        return numbers

    def _fixed(self, spec: SplitSpec) -> dict[str, Tensor]:
        """Return the files of the validation and the test split that have a folder of their own."""
        return {
            part: i for part, i in self.parts.items() if part == "test" or (part == "val" and spec.num_folds is None)
        }

    def split(self, spec: SplitSpec) -> list[Tensor]:
        """Return the indices of train, val and test. A part with a folder is left as it is; the others are taken from
        train.

        With folds, the folder val joins train; the folds are the test split, or where there is a folder test, the
        validation split.

        Raises:
            InputError: Sizes or folds that leave nothing for training; a class with a single file where some must be
                cut off.
        """
        fixed = self._fixed(spec)
        rest = [i for part, i in self.parts.items() if part not in fixed]
        pool = torch.cat(rest) if rest else torch.arange(len(self.files))
        labels = self.targets[pool]
        spec = replace(
            spec,
            val_size=0 if "val" in fixed else spec.val_size,
            test_size=0 if "test" in fixed else spec.test_size,
        )
        if spec.val_size or spec.test_size or spec.num_folds is not None:
            for name, count in zip(self.class_names, labels.bincount(minlength=len(self.class_names)), strict=True):
                if count == 1:
                    raise InputError(
                        f"class '{name}' has a single file to train and to judge with; add some or remove the class"
                    )
        split = split_indices(labels, len(labels), spec)
        return [fixed.get(part, pool[indices]) for part, indices in zip(PARTS, split, strict=True)]

    def check_trained_on(self, train: Tensor) -> None:
        """Raise InputError if a class has no file among those of the training split, given as indices."""
        check_trained_on(self.class_names, self.targets[train], "file")


class BrokenFileError(Exception):
    """A file that cannot be read; the message says why, without the path."""


def read_content(path: Path) -> bytes:
    """Return all bytes of a file.

    Raises:
        BrokenFileError: It cannot be read, is no regular file, or is too large to be a sample.
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
    """What `read` gives for the index of each file, by as many threads as there are processors (decoders let other
    threads run); and a flag for each that is broken, `(files,)`, whose result is None.

    Raises:
        InputError: Some are broken, and were not to be skipped, or all are; the first of them are named.
    """
    problems: dict[int, str] = {}

    def attempt(index: int) -> T | None:
        try:
            return read(index)
        except BrokenFileError as error:
            problems[index] = str(error)
            return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(attempt, range(len(files))))
    broken = torch.zeros(len(files), dtype=torch.bool)
    if problems:
        broken[list(problems)] = True
        named = "".join(f"\n  {printable(f'{files[i]}: {problems[i]}')}" for i in sorted(problems)[:5])
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        said = f"{len(problems)} of {len(files)} {kind}s cannot be read"
        if not skip_broken:
            raise InputError(
                f"{said}; mend or remove them, or leave them out with --data.skip_broken true{named}{more}"
            )
        if broken.all():
            raise InputError(f"{said}, and none is left{named}{more}")
        print(f"{said}, left out:{named}{more}", flush=True)
    return results, broken


def new_files(path: Path, suffixes: Collection[str], kind: str) -> list[Path]:
    """The files of a folder, at any depth, or a single file.

    Raises:
        InputError: None there, a folder that cannot be read, or something else than a file or a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"predict_path: {path} is neither a regular file nor a folder")
    try:
        files = [path] if path.is_file() else files_in(path, suffixes)
    except OSError as error:
        raise InputError(f"predict_path: {path} cannot be read: {error.strerror or error}") from error
    if not files or files[0].suffix.lower() not in suffixes:
        where = "" if path.is_file() else " in it"
        raise InputError(f"predict_path: {path}: no {kind}{where} ({', '.join(sorted(suffixes))})")
    return files


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with one of these suffixes, in either case, at any depth, sorted, without hidden ones.

    Links are followed, but a folder that several of them lead to is listed once, so that links in a circle end. FIFOs,
    sockets and devices are left out, and a line says how many.

    Raises:
        InputError: A name that is not UTF-8.
        OSError: A folder that cannot be read.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen and status.st_ino:  # some file systems number nothing
            continue
        seen.add((status.st_dev, status.st_ino))
        inner = []
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    inner.append(here / entry.name)
                elif Path(entry.name).suffix.lower() in suffixes:
                    found.append(here / entry.name)
        waiting += sorted(inner, reverse=True)
    for path in found:
        check_name(path)
    return regular_files(sorted(found))


def regular_files(files: Sequence[Path]) -> list[Path]:
    """Leave out FIFOs, sockets and devices, which might never end, and print one line about them.

    A file that is missing stays: whoever reads it reports it.
    """
    special = [path for path in files if _is_special(path)]
    if special:
        named = ", ".join(printable(str(path)) for path in special[:3]) + (", ..." if len(special) > 3 else "")
        print(f"{len(special)} of {len(files)} files left out, no regular files: {named}", flush=True)
    return [path for path in files if path not in set(special)] if special else list(files)


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def check_name(path: Path) -> None:
    """Raises InputError if a path is not UTF-8: results and checkpoints could not hold it as a name."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the name is not UTF-8; rename the file or folder") from error


def names_in(path: Path, files: Sequence[Path]) -> list[str]:
    """Each file's path within the folder `path`, or its name, if `path` is the file itself."""
    return [file.name if file == path else file.relative_to(path).as_posix() for file in files]


def check_classes(known: list[str], class_names: list[str]) -> None:
    """Raises InputError if a checkpoint's classes are not those of the data."""
    if known != class_names:
        raise InputError(
            f"the checkpoint was trained on the classes {', '.join(known)}; these data have {', '.join(class_names)}"
        )


def subfolders(folder: Path) -> list[str]:
    """List the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        InputError: A name that is not UTF-8.
        OSError: The folder cannot be read.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in names:
        check_name(folder / name)
    return names
