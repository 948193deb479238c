"""Datasets with one folder per class: listing, splitting and reading their files."""

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
from litnets.safety.escaping import printable
from litnets.safety.files import NotRegularFileError, open_regular

T = TypeVar("T")

MAX_BYTES = 2**31  # size of the file of a sample


@dataclass(frozen=True)
class ClassFolders:
    """The files in `root/class/` or in `root/{train,val,test}/class/`, including subfolders.

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
        """List the files of a folder without opening them. Ignore hidden files and folders, and other suffixes.

        Args:
            root: The folder.
            suffixes: Suffixes of the files, in lower case, with the dot.
            kind: What a file is called in messages, such as `image`.

        Raises:
            InputError: The folder does not exist, cannot be read, or has fewer than two classes; a class has no file;
                val or test has a class that train does not have; there are other folders next to train, val and test.
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
        folders = subfolders(root)
        # Without subfolders, "train" is a class, such as a kind of vehicle.
        is_split = "train" in folders and bool(subfolders(root / "train"))
        if not is_split and folders and set(folders) <= set(PARTS):
            raise InputError(f"{root} has {', '.join(folders)}, but no train/ with a folder of {kind}s per class")
        if is_split and (others := sorted(set(folders) - set(PARTS))):
            raise InputError(
                f"{root} has a folder train next to {', '.join(others)}; expected only train, val and test"
            )
        parts = [part for part in PARTS if part in folders] if is_split else [""]
        class_names = subfolders(root / parts[0])
        if len(class_names) < 2:
            names = f"only {class_names[0]}" if class_names else "none"
            raise InputError(f"{root / parts[0]}: expected at least two folders, one per class, found {names}")
        files: list[Path] = []
        targets: list[int] = []
        part_indices: dict[str, Tensor] = {}
        for part in parts:
            start = len(files)
            for name in subfolders(root / part):
                if name not in class_names:
                    raise InputError(f"{root / part / name}: {root / parts[0]} has no class '{name}' to train on")
                class_files = files_in(root / part / name, suffixes)
                if not class_files:
                    raise InputError(
                        f"{root / part / name} contains no {kind} ({', '.join(sorted(suffixes))}); "
                        "add some or remove the folder"
                    )
                files += class_files
                targets += [class_names.index(name)] * len(class_files)
            if len(files) == start:
                raise InputError(f"{root / part} contains no class; expected a folder of {kind}s per class")
            part_indices[part] = torch.arange(start, len(files))
        return cls(root, class_names, files, torch.tensor(targets), part_indices if is_split else {})

    def fingerprint(self, contents: Digests) -> Fingerprint:
        """Return the fingerprint of the files, given the digests of their contents."""
        return Fingerprint.of_files(self.root, self.files, contents)

    def fixed_splits(self, spec: SplitSpec) -> Tensor | None:
        """Return the index of the split of each file whose folder determines it, -1 for the others, `(files,)`.

        Return None if no folder determines a split.
        """
        fixed = self._fixed_parts(spec)
        if not fixed:
            return None
        if len(fixed) == 2:  # no other split is taken from train
            fixed["train"] = self.parts["train"]
        splits = torch.full((len(self.files),), -1)
        for part, indices in fixed.items():
            splits[indices] = PARTS.index(part)
        return splits

    def _fixed_parts(self, spec: SplitSpec) -> dict[str, Tensor]:
        """Return the indices of the files in the folders val and test, if these are used as they are."""
        return {
            part: indices
            for part, indices in self.parts.items()
            if part == "test" or (part == "val" and spec.num_folds is None)
        }

    def split(self, spec: SplitSpec) -> list[Tensor]:
        """Return the indices of train, val and test. The folders val and test are used as they are, if they exist.
        Otherwise these splits are taken from train.

        With folds, the folder val is merged into train. The folds are the test split or, if there is a folder test, the
        validation split.

        Raises:
            InputError: The sizes or folds leave no file for training, or a class that has to be split has one file.
        """
        fixed = self._fixed_parts(spec)
        rest = [indices for part, indices in self.parts.items() if part not in fixed]
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
                        f"class '{name}' has a single file, which cannot be split; add files or remove the class"
                    )
        split = split_indices(labels, len(labels), spec)
        return [fixed.get(part, pool[indices]) for part, indices in zip(PARTS, split, strict=True)]

    def check_trained_on(self, train: Tensor) -> None:
        """Raise InputError if a class has no file in the training split, whose indices are `train`."""
        check_trained_on(self.class_names, self.targets[train], "file")


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
        details = "".join(f"\n  {printable(f'{files[i]}: {problems[i]}')}" for i in sorted(problems)[:5])
        if len(problems) > 5:
            details += f"\n  and {len(problems) - 5} more"
        summary = f"{len(problems)} of {len(files)} {kind}s cannot be read"
        if not skip_broken:
            raise InputError(f"{summary}; fix or remove them, or skip them with --data.skip_broken true{details}")
        if broken.all():
            raise InputError(f"{summary}, so no {kind} is left{details}")
        print(f"{summary}, skipped:{details}", flush=True)
    return results, broken


def new_files(path: Path, suffixes: Collection[str], kind: str) -> list[Path]:
    """List the files in a folder and its subfolders, or a single file.

    Args:
        path: The folder or file.
        suffixes: Suffixes of the files, in lower case, with the dot.
        kind: What a file is called in messages, such as `image`.

    Raises:
        InputError: There is no such file, the folder cannot be read, or the path is neither a file nor a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"predict_path: {path} is neither a regular file nor a folder")
    try:
        files = [path] if path.is_file() else files_in(path, suffixes)
    except OSError as error:
        raise InputError(f"predict_path: {path} cannot be read: {error.strerror or error}") from error
    if not files or files[0].suffix.lower() not in suffixes:
        verb = "is" if path.is_file() else "contains"
        raise InputError(f"predict_path: {path} {verb} no {kind} ({', '.join(sorted(suffixes))})")
    return files


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with one of these suffixes in a folder and its subfolders, sorted, without hidden files.

    The case of a suffix does not matter. Links are followed, but each folder is listed only once, so that cyclic links
    terminate. FIFOs, sockets and devices are skipped, and their number is printed.

    Raises:
        InputError: A name is not UTF-8.
        OSError: A folder cannot be read.
    """
    files: list[Path] = []
    visited: set[tuple[int, int]] = set()
    stack = [folder]
    while stack:
        current = stack.pop()
        status = current.stat()
        if (status.st_dev, status.st_ino) in visited and status.st_ino:  # some file systems have no inode numbers
            continue
        visited.add((status.st_dev, status.st_ino))
        folders = []
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(current / entry.name)
                elif Path(entry.name).suffix.lower() in suffixes:
                    files.append(current / entry.name)
        stack += sorted(folders, reverse=True)
    for path in files:
        check_name(path)
    return regular_files(sorted(files))


def regular_files(files: Sequence[Path]) -> list[Path]:
    """Return the files without FIFOs, sockets and devices, which might never end, and print how many were skipped.

    A missing file is kept, so that reading it raises an error.
    """
    special = [path for path in files if _is_special(path)]
    if special:
        named = ", ".join(printable(str(path)) for path in special[:3]) + (", ..." if len(special) > 3 else "")
        print(f"{len(special)} of {len(files)} files skipped, not regular files: {named}", flush=True)
    return [path for path in files if path not in set(special)] if special else list(files)


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def check_name(path: Path) -> None:
    """Raise InputError if a path is not UTF-8, because results and checkpoints could not store its name."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the name is not UTF-8; rename the file or folder") from error


def names_in(path: Path, files: Sequence[Path]) -> list[str]:
    """Return the path of each file relative to the folder `path`, or its name if `path` is the file itself."""
    return [file.name if file == path else file.relative_to(path).as_posix() for file in files]


def check_classes(trained_classes: list[str], class_names: list[str]) -> None:
    """Raise InputError if a checkpoint was trained on other classes than the data have."""
    if trained_classes != class_names:
        raise InputError(
            f"the checkpoint was trained on the classes {', '.join(trained_classes)}; "
            f"these data have {', '.join(class_names)}"
        )


def subfolders(folder: Path) -> list[str]:
    """List the names of the subfolders of a folder, sorted, without hidden folders.

    Raises:
        InputError: A name is not UTF-8.
        OSError: The folder cannot be read.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in names:
        check_name(folder / name)
    return names
