"""TextFiles: classify your texts, from a CSV, TSV or JSONL file or from one folder per class."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.class_folders import check_linked_once, list_classes
from litnets.data.core.csv_files import read_utf8
from litnets.data.core.fingerprint import Fingerprint, digest_each
from litnets.data.core.listing import check_twins, data_files, subfolders
from litnets.data.core.predefined_splits import fixed_splits, split_the_rest
from litnets.data.core.sample_columns import Columns, carried
from litnets.data.core.split_files import SplitFilesDataModule
from litnets.data.core.splits import SplitSpec, split_indices
from litnets.data.core.stray_files import report_copies
from litnets.data.text.base import TextDataModule, duplicate_groups, label_indices
from litnets.data.text.reading import TABLES, Sample, read_columns, read_samples
from litnets.errors import InputError, abbreviate, did_you_mean


class TextFiles(SplitFilesDataModule, TextDataModule):
    """Your texts with their classes, in UTF-8.

    `path` is a `.csv`, `.tsv` or `.jsonl` file with named columns; a folder with one subfolder of `.txt` files per
    class, each file a text; or a folder with one `.txt` file per class, such as `pos.txt` and `neg.txt`, each line a
    text. A folder that contains `train`, `val` and `test`, each a file or folder as above, keeps that split. `val` may
    also be named `valid`, `validation` or `dev`; without `val` or `test`, that split is taken from `train`. Duplicates
    of a text stay in the same split.

        data = TextFiles("reviews.csv", text_column="body", label_column="stars", tokens="subwords")

    Args:
        path: The file or folder.
        label_column: Column of the classes in CSV, TSV and JSONL files.
        id_columns: Columns of these files that predictions.csv repeats, such as the id of a text. Default: none.
        **text: Arguments of `SplitFilesDataModule`, `TextDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        label_column: str = "label",
        id_columns: list[str] | None = None,
        **text: Any,
    ) -> None:
        super().__init__(path, **text)
        if self.text_column == label_column:
            raise InputError(f"label_column: '{label_column}' is also the text column; choose another column")
        self.label_column, self.id_columns = label_column, id_columns or []
        self._files: list[Path] = []
        self.has_text_per_line = False  # whether each line of a `.txt` file is a text

    def read(self) -> tuple[list[Sample], dict[str, Tensor]]:
        paths = self.find_files(TABLES, folders=True)
        self._files = list(paths.values())
        files = [self._read_files(path) for path in paths.values()]
        samples = [sample for part in files for file in part.values() for sample in file]
        indices = torch.arange(len(samples)).split([sum(map(len, part.values())) for part in files])
        parts = dict(zip(paths, indices, strict=True))
        fixed = fixed_splits(parts, len(samples), self.split_spec)

        def split(pool: Tensor, spec: SplitSpec) -> Sequence[Tensor]:
            if fixed is not None and (fixed >= 0).all():  # no other split is taken from train
                return torch.arange(len(pool)), torch.arange(0), torch.arange(0)
            chosen = [samples[i] for i in pool.tolist()]
            return split_indices(label_indices(chosen), len(chosen), spec, duplicate_groups(chosen))

        def propose() -> list[Tensor]:
            return split_the_rest(parts, len(samples), self.split_spec, split)

        fingerprint = self._fingerprint({path: file for part in files for path, file in part.items()})
        splits = self.assign_splits(fingerprint, propose, fixed)
        if self.trained_state is None:  # a new run
            contents = digest_each(sample.text.encode("utf-8", "surrogatepass") for sample in samples)
            labels = np.array([sample.label for sample in samples])
            report_copies(contents, labels, splits, "texts", lambda index: samples[index].where)
        return samples, splits

    def read_new(self, file: Path) -> list[Sample]:
        """Return the samples of a `.txt` file to predict: its lines if the model was trained on lines."""
        return _read_lines(file) if self.has_text_per_line else super().read_new(file)

    def carried_columns(self, part: str = "test") -> Columns:
        if self.predict_path is not None:
            return self.new_columns(self.predict_path)
        assert self._split_samples is not None
        return carried(self._read_id_columns(self._files), self._split_samples[1][part].tolist())

    def new_columns(self, path: Path) -> Columns:
        columns = carried(self._read_id_columns([path]))
        if path.suffix.lower() not in TABLES:
            return columns
        labels = read_columns(path, [self.label_column], self.header)
        return {**columns, "target": labels[self.label_column]} if labels else columns

    def _read_id_columns(self, paths: Sequence[Path]) -> dict[str, list[str]]:
        """Return the cells of `id_columns` in all files, one after the other."""
        cells: dict[str, list[str]] = {name: [] for name in self.id_columns}
        for path in paths if cells else ():
            if path.suffix.lower() not in TABLES:
                raise InputError(f"id_columns: {path} has no columns; expected a .csv, .tsv or .jsonl file")
            columns = read_columns(path, self.id_columns, self.header)
            for name in self.id_columns:
                if name not in columns:
                    raise InputError(f"id_columns: {path} has no column '{name}'")
                cells[name] += columns[name]
        return cells

    def read_labeled(self, path: Path) -> list[Sample]:
        return [sample for file in self._read_files(path).values() for sample in file]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "has_text_per_line": self.has_text_per_line}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.has_text_per_line = state_dict.get("has_text_per_line", False)
        super().load_state_dict(state_dict)

    def _fingerprint(self, files: Mapping[Path, list[Sample]]) -> Fingerprint:
        """Return the fingerprint of the samples of each file."""
        samples = [sample for file in files.values() for sample in file]
        if [sample.where for sample in samples] == [str(path) for path in files]:  # each sample is a file
            contents = digest_each(sample.text.encode() for sample in samples)
            return Fingerprint.of_files(self.path, list(files), contents)
        contents = digest_each(f"{text}\0{label}".encode("utf-8", "surrogatepass") for text, label, _ in samples)
        rows = Fingerprint.of_rows(contents, [len(file) for file in files.values()])
        return replace(rows, describe=[sample.where for sample in samples].__getitem__)

    def _read_files(self, path: Path) -> dict[Path, list[Sample]]:
        """Return the samples in each file of a data set or split: a table, or a folder of classes."""
        if path.is_dir():
            self.has_text_per_line = not subfolders(path)
            return _read_class_files(path) if self.has_text_per_line else _read_class_folders(path)
        if not path.exists():
            siblings = [sibling.name for sibling in path.parent.glob("*")]
            raise InputError(f"path: {path}: no such file or folder{did_you_mean(path.name, siblings)}")
        if path.suffix.lower() not in TABLES:
            raise InputError(f"path: {path}: expected a .csv, .tsv or .jsonl file, or a folder")
        return {path: read_samples(path, self.text_column, self.label_column, self.header)}


def _read_class_folders(folder: Path) -> dict[Path, list[Sample]]:
    """Return the text of each `.txt` file, at any depth, of each subfolder; the subfolder's name is the class."""
    classes = list_classes(folder, (".txt",), "text", folder)
    check_linked_once({path: real for files in classes.values() for path, real in files.items()})
    return {file: [Sample(read_utf8(file), name, str(file))] for name, files in classes.items() for file in files}


def _read_class_files(folder: Path) -> dict[Path, list[Sample]]:
    """Return the texts in the lines of each `.txt` file of a folder; the file's name is the class."""
    files = [folder / name for name in data_files(folder) if Path(name).suffix.lower() == ".txt"]
    if len(files) < 2:
        raise InputError(
            f"{folder}: expected one subfolder of .txt files per class, or one .txt file per class with a text in each "
            f"line, got {abbreviate([file.name for file in files]) or 'none'}"
        )
    check_twins(folder, [file.stem for file in files])
    return {file: _read_lines(file, file.stem) for file in files}


def _read_lines(file: Path, label: str = "") -> list[Sample]:
    """Return the text in each line of a file. Skip empty lines."""
    lines = enumerate(io.StringIO(read_utf8(file), newline=None), 1)
    return [Sample(line.rstrip("\n"), label, f"{file}, line {number}") for number, line in lines if line.strip()]
