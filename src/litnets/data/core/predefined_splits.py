"""Splits that come with the data: folders or files named `train`, `val` and `test` in one folder."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from litnets.data.core.listing import data_files, subfolders
from litnets.data.core.splits import PARTS, SplitSpec
from litnets.errors import InputError
from litnets.safety.escaping import printable

# Names of the folder or file of each split, in any case.
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}
SPLIT_OF = {name: part for part, names in SPLIT_NAMES.items() for name in names}

# A file may have another name before that of the split, such as `imdb_train.csv` or `GunPoint_TEST.ts`.
_FILE_STEM = re.compile(rf"(?:.*[_.-])?({'|'.join(SPLIT_OF)})", re.IGNORECASE | re.DOTALL)


def find_splits(root: Path, file_suffixes: Collection[str] = (), folders: bool = True) -> dict[str, Path]:
    """Return the folder or file of each split in `root`, in the order train, val, test; empty if there are no splits.

    Files are recognized by their names. Folders named after splits hold splits if the training folder has subfolders,
    or if there are at least two and no other folders; otherwise they may be classes. If several files fit one split, a
    file named after the split (`train.csv`) comes first, then one named after folder and split (`reviews_train.csv` in
    `reviews`), then any other (`old_train.csv`). Folders and files that are not read are printed in one line.

    Args:
        root: The folder.
        file_suffixes: Suffixes that the file of a split may have, in lower case, with the dot.
        folders: Whether a split can be a folder.

    Raises:
        InputError: There are several folders or files for one split, there is no split to train on, or a
            folder next to `train` could be a class or a misspelled split.
        OSError: A folder cannot be read.
    """
    split_folders, other_folders = _split_folders(root) if folders else ({}, [])
    files = [name for name in data_files(root) if Path(name).suffix.lower() in file_suffixes]
    paths = {
        part: root / _best_candidate(root, part, candidates)
        for part, candidates in _rank_candidates(root.name, split_folders, files).items()
    }
    if not paths:
        return {}
    if "train" not in paths:
        found = ", ".join(path.name for path in paths.values())
        raise InputError(f"{root} has {found}, but nothing to train on; expected a folder or file named train")
    if split_folders and other_folders and len(paths) == 1:
        raise InputError(
            f"{root} has a folder {paths['train'].name} next to {', '.join(other_folders)}; expected only train, val "
            "and test, or only folders of classes"
        )
    left_out = [name for name in files if root / name not in paths.values()]
    if split_folders:
        left_out += other_folders
    if left_out:
        print(f"{root}: {printable(', '.join(left_out))} left out; expected train, val and test", flush=True)
    return paths


def _split_folders(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return the split of each folder in `root` that holds one, and the names of the other folders.

    A folder that is named after a split may be a class, such as `train` among vehicles. It holds a split only if there
    are at least two folders, all named after splits, or if the training folder has subfolders.
    """
    names = subfolders(root)
    splits = {name: SPLIT_OF[name.lower()] for name in names if name.lower() in SPLIT_OF}
    others = [name for name in names if name not in splits]
    has_only_splits = len(splits) > 1 and not others
    trains_on_classes = any(subfolders(root / name) for name, part in splits.items() if part == "train")
    return (splits if has_only_splits or trains_on_classes else {}), others


def _best_candidate(root: Path, part: str, candidates: Sequence[tuple[int, str]]) -> str:
    """Return the name of the folder or file with the best rank. Raise InputError if two share it."""
    (rank, name), *others = candidates
    if others and others[0][0] == rank:
        raise InputError(f"{root}: {name} and {others[0][1]} both hold the {part} split; remove one of them")
    return name


def _rank_candidates(
    root_name: str, split_folders: Mapping[str, str], files: Sequence[str]
) -> dict[str, list[tuple[int, str]]]:
    """Return the rank (0 is the best) and the name of each folder or file that may hold a split, sorted, by split.

    Args:
        root_name: Name of the folder that holds them.
        split_folders: Names of the folders, each with its split.
        files: Names of the files.
    """
    ranked = [(part, 0, name) for name, part in split_folders.items()]
    for name in files:
        if match := _FILE_STEM.fullmatch(Path(name).stem):
            before = match.string[: match.start(1)].rstrip("_.-").lower()
            rank = 0 if not before else 1 if before == root_name.lower() else 2
            ranked.append((SPLIT_OF[match[1].lower()], rank, name))
    by_part = {part: sorted((rank, name) for other, rank, name in ranked if other == part) for part in PARTS}
    return {part: candidates for part, candidates in by_part.items() if candidates}


def find_split_files(
    path: Path, suffixes: Collection[str], split_paths: Mapping[str, Path], folders: bool = False
) -> dict[str, Path]:
    """Return the file of each split, train first. If `path` has no predefined splits, it is returned as train.

    Report files next to the training file that look like splits but are not used.

    Args:
        path: The file of the training split or of all samples, or a folder with a file of each split.
        suffixes: Suffixes of files, in lower case.
        split_paths: Files of val and test that the user has set.
        folders: Whether a split can be a folder.

    Raises:
        InputError: There are two files for one split, or there is no split to train on.
    """
    paths = find_splits(path, suffixes, folders) if path.is_dir() else {}
    for part, split_path in split_paths.items():
        if part in paths:
            raise InputError(f"{part}_path: {split_path}, but {path} has {paths[part].name}; remove one of them")
    if not paths:
        paths = {"train": path}
        unused = {
            part: other
            for part, other in splits_beside(path).items()
            if part not in split_paths and other not in split_paths.values()
        }
        if unused:
            names = printable(", ".join(other.name for other in unused.values()))
            options = " and ".join(f"--data.{part}_path" for part in unused)
            use = "use it as a split" if len(unused) == 1 else "use them as splits"
            print(f"{path.parent}: {names} not used; to {use}, set {options}", flush=True)
    paths |= split_paths
    return {part: paths[part] for part in PARTS if part in paths}


def splits_beside(path: Path) -> dict[str, Path]:
    """Return the files of val and test that belong to the file of a training split, such as `dev.csv` for `train.csv`.

    They are in the same folder, and differ only in the name of the split. The result is empty if `path` is not named
    after the training split.
    """
    match = _FILE_STEM.fullmatch(path.stem)
    if match is None or SPLIT_OF[match[1].lower()] != "train" or not path.is_file():
        return {}
    before = path.stem[: match.start(1)]
    splits: dict[str, Path] = {}
    for name in data_files(path.parent):
        part = SPLIT_OF.get(Path(name).stem.removeprefix(before).lower())
        if part not in (None, "train") and Path(name).stem.startswith(before) and Path(name).suffix == path.suffix:
            splits.setdefault(part, path.parent / name)
    return splits


def fixed_splits(parts: Mapping[str, Tensor], size: int, spec: SplitSpec) -> Tensor | None:
    """Return the index of the split of each sample, `(samples,)`, or -1 if its folder or file does not determine it.

    Return None if no split is determined.

    Args:
        parts: Indices of the samples in the folder or file of each split that exists.
        size: Number of samples.
        spec: With folds, the predefined validation split is merged into the training split.
    """
    fixed = _used_parts(parts, spec)
    if not fixed:
        return None
    splits = torch.full((size,), -1)
    # Otherwise, some samples of train go to val or test, so that train does not determine their split.
    determined = (*fixed, "train") if len(fixed) == 2 else fixed
    for part in determined:
        splits[parts[part]] = PARTS.index(part)
    return splits


def split_the_rest(
    parts: Mapping[str, Tensor], size: int, spec: SplitSpec, split: Callable[[Tensor, SplitSpec], Sequence[Tensor]]
) -> list[Tensor]:
    """Return the indices of train, val and test. Predefined val and test are used as they are; the rest is split.

    With folds, the predefined validation split is merged into the training split. The folds are the test split or, if
    that is predefined, the validation split.

    Args:
        parts: Indices of the samples in the folder or file of each split that exists.
        size: Number of samples.
        spec: The requested split.
        split: Splits the samples with these indices into train, val and test, and returns positions in the indices.
    """
    fixed = _used_parts(parts, spec)
    rest = [indices for part, indices in parts.items() if part not in fixed]
    pool = torch.cat(rest) if rest else torch.arange(size)
    spec = replace(
        spec, val_size=0 if "val" in fixed else spec.val_size, test_size=0 if "test" in fixed else spec.test_size
    )
    return [fixed.get(part, pool[positions]) for part, positions in zip(PARTS, split(pool, spec), strict=True)]


def _used_parts(parts: Mapping[str, Tensor], spec: SplitSpec) -> dict[str, Tensor]:
    """Return the indices of the predefined val and test, if they are used as they are."""
    return {
        part: indices for part, indices in parts.items() if part == "test" or (part == "val" and spec.num_folds is None)
    }
