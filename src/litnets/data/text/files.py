"""TextFiles: classify your texts, from a CSV, TSV or JSONL file or from one folder per class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.csv_files import read_utf8
from litnets.data.core.fingerprint import Fingerprint, digest_each
from litnets.data.core.listing import files_in, subfolders
from litnets.data.core.predefined_splits import find_splits, fixed_splits, split_the_rest
from litnets.data.core.splits import SplitSpec, split_indices
from litnets.data.core.stray_files import report_copies
from litnets.data.text.base import TextDataModule, duplicate_groups, label_indices
from litnets.data.text.reading import TABLES, Sample, read_samples
from litnets.errors import InputError, did_you_mean


class TextFiles(SplitDataModule, TextDataModule):
    """Your texts with their classes, in UTF-8.

    `path` is a `.csv`, `.tsv` or `.jsonl` file with named columns, or a folder with one subfolder of `.txt` files per
    class. A folder that contains `train` and `test`, and optionally `val`, each a file or folder as above, keeps that
    split; without `val`, the validation split is taken from `train`. Duplicates of a text stay in the same split.

        data = TextFiles("reviews.csv", text_column="body", label_column="stars", tokens="subwords")

    Args:
        path: The file or folder.
        label_column: Column of the classes in CSV, TSV and JSONL files.
        **text: Arguments of `TextDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        label_column: str = "label",
        **text: Any,
    ) -> None:
        super().__init__(**text)
        if self.text_column == label_column:
            raise InputError(f"label_column: '{label_column}' is also the text column; choose another column")
        self.path = Path(path)
        self.label_column = label_column

    def read(self) -> tuple[list[Sample], dict[str, Tensor]]:
        paths = find_splits(self.path, TABLES) if self.path.is_dir() else {}
        by_path = {path: self._read_samples(path) for path in paths.values() or [self.path]}
        samples = [sample for part in by_path.values() for sample in part]
        indices = torch.arange(len(samples)).split([len(part) for part in by_path.values()])
        parts = dict(zip(paths, indices, strict=True)) if paths else {}
        fixed = fixed_splits(parts, len(samples), self.split_spec)

        def split(pool: Tensor, spec: SplitSpec) -> Sequence[Tensor]:
            if fixed is not None and (fixed >= 0).all():  # no other split is taken from train
                return torch.arange(len(pool)), torch.arange(0), torch.arange(0)
            chosen = [samples[i] for i in pool.tolist()]
            return split_indices(label_indices(chosen), len(chosen), spec, duplicate_groups(chosen))

        def propose() -> list[Tensor]:
            return split_the_rest(parts, len(samples), self.split_spec, split)

        splits = self.assign_splits(self._fingerprint(by_path), propose, fixed)
        contents = digest_each(sample.text.encode("utf-8", "surrogatepass") for sample in samples)
        labels = np.array([sample.label for sample in samples])
        report_copies(contents, labels, splits, "text", lambda index: samples[index].where)
        return samples, splits

    def _fingerprint(self, by_path: Mapping[Path, list[Sample]]) -> Fingerprint:
        """Return the fingerprint of the samples, given by the file or folder that holds them."""
        samples = [sample for part in by_path.values() for sample in part]
        contents = digest_each(f"{text}\0{label}".encode("utf-8", "surrogatepass") for text, label, _ in samples)
        if not any(path.is_file() for path in by_path):  # each sample is a file, whose folder is its class
            contents = digest_each(sample.text.encode() for sample in samples)
            return Fingerprint.of_files(self.path, [sample.where for sample in samples], contents)
        rows = Fingerprint.of_rows(contents, [len(part) for part in by_path.values()])
        return replace(rows, describe=lambda index: samples[index].where)

    def _read_samples(self, path: Path) -> list[Sample]:
        """Return the samples of a file, or of a folder with one subfolder per class."""
        if path.is_dir():
            return list(_read_class_folders(path))
        if not path.exists():
            siblings = [sibling.name for sibling in path.parent.glob("*")]
            raise InputError(f"path: {path}: no such file or folder{did_you_mean(path.name, siblings)}")
        if path.suffix.lower() not in TABLES:
            raise InputError(f"path: {path}: expected a .csv, .tsv or .jsonl file, or a folder")
        return read_samples(path, self.text_column, self.label_column)


def _read_class_folders(folder: Path) -> Iterator[Sample]:
    """Yield a sample for each `.txt` file, at any depth, of each subfolder; the subfolder's name is the class."""
    classes = [folder / name for name in subfolders(folder)]
    if not classes:
        raise InputError(f"{folder}: expected one subfolder per class, got none")
    for path in classes:
        files = files_in(path, (".txt",))
        if not files:
            raise InputError(f"{path}: the class has no .txt file; add some, or delete the folder")
        for file in files:
            yield Sample(read_utf8(file), path.name, str(file))
