"""TextFiles: classify your texts, from a CSV, TSV or JSONL file or from one folder per class."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.class_folders import files_in, subfolders
from litnets.data.core.csv_files import read_utf8
from litnets.data.core.fingerprint import Fingerprint, digest_each
from litnets.data.core.splits import PARTS, SplitSpec, split_indices
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
        parts = {name: part for name in PARTS if (part := self._find_part(name)) is not None}
        if not {"train", "test"} <= parts.keys():
            if files := [part.name for part in parts.values() if part.is_file()]:
                raise InputError(
                    f"path: {self.path} contains {', '.join(files)}, but a split needs both train and test; add the "
                    "missing one, or set --data.path to the file itself to split it"
                )
            samples = self._read_samples(self.path)
            fingerprint = self._fingerprint({self.path: samples})
            return samples, self.assign_splits(fingerprint, lambda: self._split(samples, self.split_spec))
        by_path = {path: self._read_samples(path) for path in parts.values()}
        samples = [sample for part in by_path.values() for sample in part]
        part_of = torch.cat([torch.full((len(by_path[path]),), PARTS.index(part)) for part, path in parts.items()])
        if "val" not in parts or self.split_spec.num_folds is not None:  # train and val are split below
            part_of[part_of < PARTS.index("test")] = -1

        def propose() -> list[Tensor]:
            indices = [(part_of == part).nonzero().squeeze(1) for part in range(len(PARTS))]
            if (part_of < 0).any():
                pool = (part_of < 0).nonzero().squeeze(1)
                spec = replace(self.split_spec, test_size=0)
                train, val, _ = self._split([samples[i] for i in pool.tolist()], spec)
                indices[:2] = pool[train], pool[val]
            return indices

        return samples, self.assign_splits(self._fingerprint(by_path), propose, part_of)

    def _find_part(self, name: str) -> Path | None:
        """Return the file or folder that holds the split `name`, or None if there is none."""
        candidates = (self.path / f"{name}{suffix}" for suffix in ("", *TABLES, *map(str.upper, TABLES)))
        return next((path for path in candidates if path.exists()), None)

    def _split(self, samples: list[Sample], spec: SplitSpec) -> tuple[Tensor, Tensor, Tensor]:
        return split_indices(label_indices(samples), len(samples), spec, duplicate_groups(samples))

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
