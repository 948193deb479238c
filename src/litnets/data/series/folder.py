"""SeriesFolder: classify time series from one folder per class, one CSV file per series."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import RaggedDataset, length_mask, smallest_type
from litnets.data.core.class_folders import check_classes, files_in, names_in, new_files, subfolders
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.splits import check_trained_on, split_indices
from litnets.data.series.base import ChannelScale, ScaleChannels, read_series_inputs
from litnets.data.series.reading import read_series
from litnets.errors import InputError


class ScaleSequences(nn.Module):
    """Scale padded series `(N, T, channels)` per channel, with zeros in the padding.

    Args:
        scale: The mean and standard deviation of each channel.
    """

    def __init__(self, scale: ScaleChannels) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        values, lengths = inputs
        mask = length_mask(lengths, values.shape[1]).unsqueeze(2)  # (N, T, 1)
        return self.scale(values).masked_fill(~mask, 0), lengths


class SeriesFolder(SplitDataModule):
    """Your time series with their classes: `root/CLASS/*.csv`, at any depth.

    Each file (UTF-8, comma-separated, with a header) is one series of any length, each row one step. All series have
    the same channels. Each channel is scaled by its mean and standard deviation over all steps of the training split.
    A batch is `((values, lengths), targets)`, with shapes `(N, T, channels)`, `(N,)` and `(N,)`.

        data = SeriesFolder("gestures", time_column="t", channels=["x", "y", "z"])

    Args:
        root: The folder with one subfolder per class.
        time_column: Column of the time: numbers or ISO 8601, increasing. Default: no time column.
        channels: Columns to read. Default: all except the time column.
        predict_path: New series for `predict`: a CSV file, or a folder of CSV files at any depth, with the channels of
            training. The training data are not needed.
        **loading: Arguments of `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        time_column: str | None = None,
        channels: list[str] | None = None,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root, self.time_column, self.channels = Path(root), time_column, channels
        self.predict_path = None if predict_path is None else Path(predict_path)
        self._files: dict[str, list[Path]] = {}
        self.scale = ChannelScale()

    def load(self) -> dict[str, RaggedDataset]:
        files = [(path, label) for label, name in enumerate(self.class_names) for path in self._by_class()[name]]
        series, digests, names = [], [], self.channels
        for path, _ in files:
            # The first file defines the channels; other files may have them in another order.
            values, channels, _, digest = read_series(path, self.time_column, names)
            names = names or channels
            series.append(values)
            digests.append(digest)
        assert names is not None
        targets = torch.tensor([label for _, label in files], dtype=smallest_type(len(self.class_names)))
        samples = Fingerprint.of_files(self.root, [path for path, _ in files], np.array(digests, np.uint64))
        splits = self.assign_splits(samples, lambda: split_indices(targets, len(targets), self.split_spec))
        check_trained_on(self.class_names, targets[splits["train"]], "series")
        self.scale.fit(np.concatenate([series[i] for i in splits["train"].tolist()]), names)
        steps = torch.from_numpy(np.concatenate(series)).float()
        lengths = torch.tensor([len(values) for values in series])
        return {name: RaggedDataset(steps, lengths, targets, indices) for name, indices in splits.items()}

    def load_predict(self, path: Path) -> RaggedDataset:
        if not self.scale.names:  # no checkpoint was loaded
            self.setup()
        files = new_files(path, (".csv",), "CSV file")
        self.sample_names = names_in(path, files)
        series = [read_series(file, self.time_column, self.scale.names).values for file in files]
        lengths = torch.tensor([len(values) for values in series])
        return RaggedDataset(torch.from_numpy(np.concatenate(series)).float(), lengths, torch.zeros(len(files)))

    def read_inputs(self, inputs: Any) -> RaggedDataset:
        """Return new series: CSV files, folders, DataFrames, or arrays `(steps, channels)`, or a list of them.

        Several series of the same length may be one array `(N, steps, channels)`.
        """
        series = read_series_inputs(inputs, self.time_column, self.scale.names)
        lengths = torch.tensor([len(values) for values in series])
        return RaggedDataset(torch.cat(series), lengths, torch.zeros(len(series)))

    def _by_class(self) -> dict[str, list[Path]]:
        """Return the files of each class."""
        if not self._files:
            if not self.root.is_dir():
                problem = "not a folder" if self.root.exists() else "no such folder"
                raise InputError(f"{self.root}: {problem}; expected a folder with one subfolder of CSV files per class")
            folders = [self.root / name for name in subfolders(self.root)]
            if len(folders) < 2:
                raise InputError(f"{self.root}: expected one subfolder per class, at least two, got {len(folders)}")
            for folder in folders:
                files = files_in(folder, (".csv",))
                if len(files) < 2:
                    raise InputError(
                        f"{folder}: expected at least two CSV files per class, one to train on and one to test on, got "
                        f"{len(files)}; add some, or remove the folder"
                    )
                self._files[folder.name] = files
        return self._files

    @property
    def class_names(self) -> list[str]:
        return list(self._by_class())

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        self.setup()
        return (None, len(self.scale.names))

    def state_dict(self) -> dict[str, Any]:
        return {**self.scale.state_dict(), "class_names": self.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        self.scale.load_state_dict(state_dict)

    def on_after_batch_transfer(
        self, batch: tuple[tuple[Tensor, Tensor], Tensor], dataloader_idx: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        inputs, targets = batch
        return self.preparation().to(inputs[0].device)(inputs), targets.long()

    def preparation(self) -> ScaleSequences:
        return ScaleSequences(self.scale.module())
