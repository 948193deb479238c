"""TextFiles: your own texts to classify, from a table, from lines of JSON, or from a folder a class."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.class_folders import files_in, subfolders
from litnets.data.core.fingerprint import Fingerprint, digest_each
from litnets.data.core.splits import PARTS, SplitSpec, split_indices
from litnets.data.text.base import TextDataModule, duplicate_groups, label_numbers
from litnets.data.text.reading import TABLES, Sample, read_samples, read_utf8
from litnets.errors import InputError, did_you_mean


class TextFiles(SplitDataModule, TextDataModule):
    """Your own texts and their classes, in UTF-8: a `.csv`, `.tsv` or `.jsonl` file with named columns, or a folder
    that holds a folder of `.txt` files, at any depth, for each class.

    A folder that holds `train` and `test` (and perhaps `val`), each a file or a folder as above, is split already;
    without `val`, validation is cut from training. Copies of a text stay in one split.

    Args:
        path: The file or folder.
        label_column: Column of the classes, in a file.
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
            raise InputError(f"label_column: '{label_column}' is the column of the texts as well; name another")
        self.path, self.label_column = Path(path), label_column

    def read(self) -> tuple[list[Sample], dict[str, Tensor]]:
        parts = {name: part for name in PARTS if (part := self._part(name)) is not None}
        if not {"train", "test"} <= parts.keys():
            if files := [part.name for part in parts.values() if part.is_file()]:
                raise InputError(
                    f"path: {self.path} has {', '.join(files)}, and a split needs both a train and a test; add the "
                    "other, or give the file itself to have it split"
                )
            samples = self._samples(self.path)
            found = self._fingerprint({self.path: samples})
            return samples, self.assign_splits(found, lambda: self._split(samples, self.split_spec))
        by_path = {path: self._samples(path) for path in parts.values()}
        samples = [sample for some in by_path.values() for sample in some]
        given = torch.cat([torch.full((len(by_path[path]),), PARTS.index(part)) for part, path in parts.items()])
        if "val" not in parts or self.split_spec.num_folds is not None:  # it is taken from train, which val joins
            given[given < PARTS.index("test")] = -1

        def propose() -> list[Tensor]:
            indices = [(given == number).nonzero().squeeze(1) for number in range(len(PARTS))]
            if (given < 0).any():
                pool = (given < 0).nonzero().squeeze(1)
                spec = replace(self.split_spec, test_size=0)
                train, val, _ = self._split([samples[i] for i in pool.tolist()], spec)
                indices[:2] = pool[train], pool[val]
            return indices

        return samples, self.assign_splits(self._fingerprint(by_path), propose, given)

    def _part(self, name: str) -> Path | None:
        """The file or folder of a split that was given."""
        choices = (self.path / f"{name}{suffix}" for suffix in ("", *TABLES, *map(str.upper, TABLES)))
        return next((path for path in choices if path.exists()), None)

    def _split(self, samples: list[Sample], spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
        return split_indices(label_numbers(samples), len(samples), spec, duplicate_groups(samples))

    def _fingerprint(self, by_path: Mapping[Path, list[Sample]]) -> Fingerprint:
        """Return the fingerprint of samples by the file or the folder that they are read from."""
        samples = [sample for some in by_path.values() for sample in some]
        contents = digest_each(f"{text}\0{label}".encode("utf-8", "surrogatepass") for text, label, _ in samples)
        if not any(path.is_file() for path in by_path):  # a sample is a file, whose folder is its class
            contents = digest_each(sample.text.encode() for sample in samples)
            return Fingerprint.of_files(self.path, [sample.where for sample in samples], contents)
        rows = Fingerprint.of_rows(contents, [len(some) for some in by_path.values()])
        return replace(rows, describe=lambda index: samples[index].where)

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
