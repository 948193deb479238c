"""SeriesFolder: classify time series from CSV files in one folder per class, or from `.ts` files."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor, nn

from litnets.data.core.batching import RaggedDataset, length_mask, smallest_type
from litnets.data.core.class_folder_module import ClassFolderDataModule
from litnets.data.core.class_folders import check_known_classes
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.groups import copy_groups, groups_in
from litnets.data.core.listing import data_files, names_in, new_files
from litnets.data.core.predefined_splits import find_splits, fixed_splits, split_the_rest
from litnets.data.core.scaling import Standardize
from litnets.data.core.splits import SplitSpec, check_trained_on, split_indices
from litnets.data.core.stray_files import report_copies
from litnets.data.series.base import ChannelScale, read_series_inputs
from litnets.data.series.reading import read_series, report_names_like_data
from litnets.data.series.ts_format import ARCHIVE_SUFFIXES, LabeledSeries, read_archive
from litnets.errors import InputError
from litnets.safety.escaping import printable

Values = NDArray[np.float64]  # (steps, channels)


class ScaleSequences(nn.Module):
    """Scale padded series `(N, T, channels)` per channel, with zeros in the padding.

    Args:
        scale: The mean and standard deviation of each channel.
    """

    def __init__(self, scale: Standardize) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        values, lengths = inputs
        mask = length_mask(lengths, values.shape[1]).unsqueeze(2)  # (N, T, 1)
        return self.scale(values).masked_fill(~mask, 0), lengths


class SeriesFolder(ClassFolderDataModule):
    """Your time series with their classes: `root/CLASS/*.csv`, at any depth, or files of the UCR and UEA archives.

    Each CSV file (UTF-8, comma-separated, with a header) is one series of any length, each row one step. All series
    have the same channels. Each channel is scaled by its mean and standard deviation over all steps of the training
    split. A batch is `((values, lengths), targets)`, with shapes `(N, T, channels)`, `(N,)` and `(N,)`.

    The series are split into training, validation and test. Alternatively, the splits are the folders
    `root/{train,val,test}/CLASS/*.csv`; if val or test does not exist, the split is taken from train. The
    validation folder may also be named valid, validation or dev. The same holds for the files of the archives, such as
    `root/GunPoint_TRAIN.ts` and `root/GunPoint_TEST.ts` (or `.tsv`). Their channels are `dim_0`, `dim_1` ..., and
    missing values are interpolated.

        data = SeriesFolder("gestures", time_column="t", channels=["x", "y", "z"])

    Args:
        root: The folder with one subfolder per class, or a `.ts` or `.tsv` file, or a folder of them.
        time_column: Column of the time, increasing: numbers, ISO 8601, months (2016-07) or quarters (2016Q3). Default:
            no time column.
        channels: Columns to read. Default: all except the time column and row numbers without a name.
        header: Whether the first line of a file names the columns; if not, they are `column_1`, `column_2` ...
        predict_path: New series for `predict`: a CSV file, a folder of CSV files at any depth, or a `.ts` file, with or
            without classes, with the channels of training. The training data are not needed. Default: the test split.
        **loading: Arguments of `ClassFolderDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    suffixes = (".csv",)
    file_kind = "CSV file"

    def __init__(
        self,
        root: str,
        time_column: str | None = None,
        channels: list[str] | None = None,
        header: bool = True,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(root, **loading)
        self.time_column, self.channels, self.header = time_column, channels, header
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.scale = ChannelScale()

    @cached_property
    def _archive(self) -> dict[str, list[LabeledSeries]]:
        """The series of each file of an archive, by split; empty if `root` has folders of CSV files."""
        if self.root.suffix.lower() in ARCHIVE_SUFFIXES:
            return {"": read_archive(self.root)}
        if not self.root.is_dir():
            return {}
        suffixes = {Path(name).suffix.lower() for name in data_files(self.root)}
        suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if suffix in suffixes), None)
        paths = find_splits(self.root, (suffix,), folders=False) if suffix else {}
        archive = {part: read_archive(path) for part, path in paths.items()}
        train_classes = sorted({series.label for series in archive.get("train", [])})
        for part, members in archive.items():
            check_known_classes(f"{self.root}: {part}", sorted({s.label for s in members}), "train", train_classes)
        return archive

    @property
    def class_names(self) -> list[str]:
        return sorted({series.label for part in self._archive.values() for series in part}) or super().class_names

    def load(self) -> dict[str, RaggedDataset]:
        series, names, targets, splits = self._load_archive() if self._archive else self._load_folders()
        self.scale.fit(np.concatenate([series[i] for i in splits["train"].tolist()]), names)
        steps = torch.from_numpy(np.concatenate(series)).float()
        lengths = torch.tensor([len(values) for values in series])
        targets = targets.to(smallest_type(self.num_classes))
        return {name: RaggedDataset(steps, lengths, targets, indices) for name, indices in splits.items()}

    def _load_folders(self) -> tuple[list[Values], list[str], Tensor, dict[str, Tensor]]:
        """Return the series in the folders, the names of the channels, the classes and the splits."""
        series, digests = [], []
        names = self.channels or (self.trained_state or {}).get("channel_names")
        files = self.files_to_read()
        for path in files:
            # The first file defines the channels; other files may have them in another order.
            values, channels, _, digest = read_series(path, self.time_column, names, self.header)
            names = names or channels
            series.append(values)
            digests.append(digest)
        assert names is not None
        if self.header and self.trained_state is None:
            report_names_like_data(files[0], names)
        if self.time_column is None and self.channels is None and self.trained_state is None:
            self._report_times(series, names)
        return series, names, self.folders.targets, self.assign_files(np.array(digests, np.uint64))

    def _report_times(self, series: list[Values], names: list[str]) -> None:
        """Print which channel has a name like a time and increases in every series: a network could learn dates."""
        for channel, name in enumerate(names):
            is_time = name.lower() in ("t", "ts") or re.search("time|date|stamp|clock", name.lower())
            if is_time and all((np.diff(values[:, channel]) > 0).all() for values in series):
                rank_zero_only(print)(
                    f"{self.root}: '{printable(name)}' increases in every series; if it is a time, --data.time_column "
                    f"'{printable(name)}' keeps it from being an input",
                    flush=True,
                )

    def _load_archive(self) -> tuple[list[Values], list[str], Tensor, dict[str, Tensor]]:
        """Return the same as `_load_folders` for `.ts` files."""
        samples = [series for part in self._archive.values() for series in part]
        sizes = [len(part) for part in self._archive.values()]
        indices = torch.arange(len(samples)).split(sizes)
        parts = dict(zip(self._archive, indices, strict=True)) if "" not in self._archive else {}
        if self.group_pattern is not None:
            raise InputError(
                f"group_pattern: the series in {self.root} have no names, because a file has several; remove the option"
            )
        targets = torch.tensor([self.class_names.index(series.label) for series in samples])
        contents = np.array([series.digest for series in samples], np.uint64)
        groups = copy_groups(contents)

        def split(pool: Tensor, spec: SplitSpec) -> Sequence[Tensor]:
            return split_indices(targets[pool], len(pool), spec, groups_in(pool, groups))

        fingerprint = replace(
            Fingerprint.of_rows(contents, sizes), describe=[sample.where for sample in samples].__getitem__
        )
        splits = self.assign_splits(
            fingerprint,
            lambda: split_the_rest(parts, len(samples), self.split_spec, split),
            fixed_splits(parts, len(samples), self.split_spec),
        )
        check_trained_on(self.class_names, targets[splits["train"]], "series")
        if self.trained_state is None:
            report_copies(contents, targets.numpy(), splits, "series", lambda index: samples[index].where)
            if missing := sum(series.num_missing for series in samples):
                rank_zero_only(print)(f"{self.root}: {missing} missing values interpolated", flush=True)
        names = self.channels or samples[0].names
        return [series.select(names) for series in samples], names, targets, splits

    new_suffixes, new_kind = (".csv",), "CSV file"

    def load_predict(self, path: Path) -> RaggedDataset:
        if not self.scale.names:  # no checkpoint was loaded
            self.setup()
        if path.suffix.lower() in ARCHIVE_SUFFIXES:
            samples = read_archive(path, needs_label=False)
            self.sample_names = [sample.where for sample in samples]
            series = [sample.select(self.scale.names) for sample in samples]
        else:
            files = new_files(path, (".csv",), "CSV file")
            self.sample_names = names_in(path, files)
            series = [read_series(file, self.time_column, self.scale.names, self.header).values for file in files]
        lengths = torch.tensor([len(values) for values in series])
        return RaggedDataset(torch.from_numpy(np.concatenate(series)).float(), lengths, torch.zeros(len(series)))

    def load_labeled(self, path: Path) -> RaggedDataset:
        if path.suffix.lower() not in ARCHIVE_SUFFIXES:
            return cast(RaggedDataset, super().load_labeled(path))
        classes = self.trained_classes or []
        labels = [sample.label for sample in read_archive(path)]
        check_known_classes(path, sorted(set(labels)), "the trained run", classes)
        samples = self.load_predict(path)
        samples.targets = torch.tensor([classes.index(label) for label in labels])
        return samples

    def read_inputs(self, inputs: Any) -> RaggedDataset:
        """Return new series: CSV files, folders, DataFrames, or arrays `(steps, channels)`, or a list of them.

        Several series of the same length may be one array `(N, steps, channels)`.
        """
        series = read_series_inputs(inputs, self.time_column, self.scale.names, self.header)
        lengths = torch.tensor([len(values) for values in series])
        return RaggedDataset(torch.cat(series), lengths, torch.zeros(len(series)))

    def describe_reading(self) -> dict[str, Any]:
        """Return the channels."""
        return {"kind": "series", "channels": self.scale.names}

    def feature_groups(self) -> dict[str, list[int]]:
        return {name: [channel] for channel, name in enumerate(self.scale.names)}

    @property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        self.setup()
        return (None, len(self.scale.names))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **self.scale.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.scale.load_state_dict(state_dict)

    def on_after_batch_transfer(
        self, batch: tuple[tuple[Tensor, Tensor], Tensor], dataloader_idx: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        inputs, targets = batch
        return self.prepare(inputs), targets.long()

    def preparation(self) -> ScaleSequences:
        return ScaleSequences(self.scale.module())
