"""TextFiles: your own texts to classify, from a table, from lines of JSON, or from a folder a class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litnets.data.core.class_folders import files_in, subfolders
from litnets.data.core.splits import split_indices
from litnets.data.text.base import TextDataModule, duplicate_groups, label_numbers
from litnets.data.text.reading import TABLES, Sample, read_samples, read_utf8
from litnets.errors import InputError, did_you_mean


class TextFiles(TextDataModule):
    """Your own texts and their classes, in UTF-8: a `.csv`, `.tsv` or `.jsonl` file with named columns, or a folder
    that holds a folder of `.txt` files, at any depth, for each class.

    A folder that holds `train` and `test` (and perhaps `val`), each a file or a folder as above, is split already;
    without `val`, validation is cut from training. Copies of a text stay in one split.

    Args:
        path: The file or folder.
        label_column: Column of the classes, in a file.
        val_size: Validation split, a share or a number of samples.
        test_size: Test split, likewise, where there is none.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold, or the validation split where
            the test split was given, and then `val` joins `train`.
        fold: The fold that is held out, from 0.
        **text: Arguments of `TextDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        label_column: str = "label",
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **text: Any,
    ) -> None:
        super().__init__(**text)
        if self.text_column == label_column:
            raise InputError(f"label_column: '{label_column}' is the column of the texts as well; name another")
        self.path, self.label_column = Path(path), label_column
        self.val_size, self.test_size, self.split_seed = val_size, test_size, split_seed
        self.num_folds, self.fold = num_folds, fold

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
        if self.num_folds is not None:  # cut from both
            train, val = train + val, []
        if val:
            training, validation = torch.arange(len(train)), torch.arange(len(val)) + len(train)
        else:
            training, validation, _ = self._split(train, 0)
        samples = [*train, *val, *test]
        return samples, (training, validation, torch.arange(len(samples) - len(test), len(samples)))

    def _part(self, name: str) -> Path | None:
        """The file or folder of a split that was given."""
        choices = (self.path / f"{name}{suffix}" for suffix in ("", *TABLES, *map(str.upper, TABLES)))
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
            duplicate_groups(samples),
        )

    def _samples(self, path: Path) -> list[Sample]:
        """All samples of a file or of a folder of classes."""
        if path.is_dir():
            return list(_read_classes(path))
        if not path.exists():
            there = [other.name for other in path.parent.glob("*")]
            raise InputError(f"path: {path}: no such file or folder{did_you_mean(path.name, there)}")
        if path.suffix.lower() not in TABLES:
            raise InputError(f"path: {path}: expected a .csv, .tsv or .jsonl file, or a folder")
        return read_samples(path, self.text_column, self.label_column)


def _read_classes(folder: Path) -> Iterator[Sample]:
    """A sample for each `.txt` file, at any depth, of each folder in `folder`, whose name is the class."""
    classes = [folder / name for name in subfolders(folder)]
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class in it, found none")
    for path in classes:
        files = files_in(path, (".txt",))
        if not files:
            raise InputError(f"{path}: the class is empty, it has no .txt file; add some, or delete the folder")
        for file in files:
            yield Sample(read_utf8(file), path.name, str(file))
