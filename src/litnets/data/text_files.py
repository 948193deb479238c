"""TextFiles: your own texts to classify, from a table, from lines of JSON, or from a folder a class."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litnets.data.batches import RaggedDataset
from litnets.data.folders import names_in, new_files
from litnets.data.splits import split_indices
from litnets.data.text import Sample, TextDataModule, label_numbers, read_utf8, same_texts
from litnets.errors import InputError, nearest

_SUFFIXES = (".csv", ".tsv", ".jsonl")


class TextFiles(TextDataModule):
    """Your own texts and their classes, in UTF-8: a `.csv`, `.tsv` or `.jsonl` file with named columns, or a folder
    that holds a folder of `.txt` files for each class.

    A folder that holds `train` and `test` (and perhaps `val`), each a file or a folder as above, is split already;
    without `val`, validation is cut from training. Copies of a text stay in one split.

    Args:
        path: The file or folder.
        text_column: Column of the texts, in a file.
        label_column: Column of the classes, in a file.
        val_size: Validation split, a share or a number of samples.
        test_size: Test split, likewise, where there is none.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold, or the validation split where
            the test split was given.
        fold: The fold that is held out, from 0.
        predict_path: New texts for `predict`: a file with the column of the texts, with or without one of classes, or a
            folder of `.txt` files, at any depth, or a single one. The texts of the training are not read then; tokens
            that they did not have are read as the unknown one.
        **text: Arguments of `TextDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        text_column: str = "text",
        label_column: str = "label",
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        predict_path: str | None = None,
        **text: Any,
    ) -> None:
        super().__init__(**text)
        if text_column == label_column:
            raise InputError(f"label_column: '{label_column}' is the column of the texts as well; name another")
        self.path, self.text_column, self.label_column = Path(path), text_column, label_column
        self.val_size, self.test_size, self.split_seed = val_size, test_size, split_seed
        self.num_folds, self.fold = num_folds, fold
        self.predict_path = None if predict_path is None else Path(predict_path)

    def load_new(self, path: Path) -> RaggedDataset:
        if self.vocabulary is None:  # no checkpoint
            self.setup()
        if path.is_file() and path.suffix in _SUFFIXES:
            samples = [_sample(row, where, self.text_column, None) for row, where in _rows(path)]
            if not samples:
                raise InputError(f"{path}: there are no texts in it")
        else:
            files = new_files(path, (".txt",), "text")
            samples = [Sample(read_utf8(file), "", str(file)) for file in files]
            self.sample_names = names_in(path, files)
        values, lengths = self._encode(self._normalize(samples))
        return RaggedDataset(values, lengths, torch.zeros(len(samples), dtype=torch.uint8))

    def read(self) -> tuple[list[Sample], tuple[Tensor, Tensor, Tensor]]:
        parts = {name: part for name in ("train", "val", "test") if (part := self._part(name)) is not None}
        if not {"train", "test"} <= parts.keys():
            if files := [part.name for part in parts.values() if part.is_file()]:
                raise InputError(
                    f"path: {self.path} has {', '.join(files)}, and a split needs both a train and a test; add the "
                    "other, or give the file itself to have it split"
                )
            samples = self._samples(self.path)
            return samples, self._split(samples, self.test_size)
        train, val, test = (self._samples(parts[name]) if name in parts else [] for name in ("train", "val", "test"))
        if "val" in parts:
            training, validation = torch.arange(len(train)), torch.arange(len(val)) + len(train)
        else:
            training, validation, _ = self._split(train, 0)
        samples = [*train, *val, *test]
        return samples, (training, validation, torch.arange(len(samples) - len(test), len(samples)))

    def _part(self, name: str) -> Path | None:
        """The file or folder of a split that was given."""
        choices = (self.path / f"{name}{suffix}" for suffix in ("", *_SUFFIXES))
        return next((path for path in choices if path.exists()), None)

    def _split(self, samples: list[Sample], test_size: float) -> tuple[Tensor, Tensor, Tensor]:
        return split_indices(
            label_numbers(samples),
            len(samples),
            self.val_size,
            test_size,
            self.split_seed,
            self.num_folds,
            self.fold,
            same_texts(samples),
        )

    def _samples(self, path: Path) -> list[Sample]:
        """All samples of a file or of a folder of classes."""
        if path.is_dir():
            return list(_read_classes(path))
        if not path.exists():
            there = [other.name for other in path.parent.glob("*")]
            raise InputError(f"path: {path}: no such file or folder{nearest(path.name, there)}")
        if path.suffix not in _SUFFIXES:
            raise InputError(f"path: {path}: expected a .csv, .tsv or .jsonl file, or a folder")
        samples = [_sample(row, where, self.text_column, self.label_column) for row, where in _rows(path)]
        if not samples:
            raise InputError(f"{path}: there are no texts in it")
        return samples


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    return _read_lines(path) if path.suffix == ".jsonl" else _read_table(path)


def _sample(row: dict[str, Any], where: str, text_column: str, label_column: str | None) -> Sample:
    """The sample in a row; without a label's column its class is not known."""
    for option, column in (("text_column", text_column), ("label_column", label_column)):
        if column is not None and column not in row:
            found = f"{nearest(column, row)} (there are: {', '.join(row)})"
            raise InputError(f"{where}: no column '{column}'{found}; --data.{option} names another")
    text, label = row[text_column], "" if label_column is None else row[label_column]
    if not isinstance(text, str):
        raise InputError(f"{where}: expected a text in '{text_column}', got {json.dumps(text)}")
    if label_column is None:
        return Sample(text, "", where)
    if not isinstance(label, (str, int)) or str(label).strip() == "":
        raise InputError(f"{where}: expected a class in '{label_column}', got {json.dumps(label)}")
    return Sample(text, str(label).strip(), where)


def _read_table(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a CSV or TSV file by their columns' names, and where each stands."""
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 kB that Python allows
    reader = csv.reader(
        io.StringIO(read_utf8(path), newline=""), "excel" if path.suffix == ".csv" else "excel-tab", strict=True
    )
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if len(row) not in (0, len(header)):  # an empty line is no row
                expected = f"expected {len(header)} columns ({', '.join(header)}), got {len(row)}"
                raise InputError(f"{where}: {expected}; a text with the separator in it stands in double quotes")
            if row:
                yield dict(zip(header, row, strict=True)), where
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no proper table: {error}") from error


def _read_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file with one in each line, and where each stands."""
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from error
        if not isinstance(row, dict):
            raise InputError(f'{where}: expected an object, such as {{"text": "...", "label": "..."}}')
        yield row, where


def _read_classes(folder: Path) -> Iterator[Sample]:
    """A sample for each `.txt` file in each folder in `folder`, whose name is the class."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class in it, found none")
    for path in classes:
        files = sorted(path.glob("*.txt"))
        if not files:
            raise InputError(f"{path}: the class is empty, it has no .txt file; add some, or delete the folder")
        for file in files:
            yield Sample(read_utf8(file), path.name, str(file))
