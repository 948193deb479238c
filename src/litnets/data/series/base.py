"""The base class of forecasting DataModules: windows of one series, split by time, scaled per channel."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.csv_files import missing_column
from litnets.data.core.data_card import describe_numbers
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.inputs import as_array, as_items, is_path, is_table, table_columns
from litnets.data.core.listing import new_files
from litnets.data.core.new_samples import check_new_shape
from litnets.data.core.raw_inputs import to_npy
from litnets.data.core.sample_columns import Columns, format_numbers
from litnets.data.core.scaling import Standardize, replace_zero_std
from litnets.data.core.splits import PARTS
from litnets.data.series.reading import read_series
from litnets.data.series.times import continue_times
from litnets.data.series.ts_format import ARCHIVE_SUFFIXES, read_archive
from litnets.errors import InputError

StepRange = tuple[int, int]  # the first step, and the step after the last


class SeriesWindows(ArrayDataset):
    """All windows of `look_back + horizon` consecutive steps: inputs, and the targets that follow them.

    The windows are views of `values`; only a batch copies data.

    Args:
        values: The series, `(steps, channels)`.
        look_back: Number of steps of an input, `(look_back, channels)`.
        horizon: Number of steps of a target, `(horizon, channels)`.
        indices: First step of each window in the split; None for all windows.
    """

    def __init__(self, values: Tensor, look_back: int, horizon: int, indices: Tensor | None = None) -> None:
        windows = values.unfold(0, look_back + horizon, 1).transpose(1, 2)  # (windows, look_back + horizon, channels)
        super().__init__(windows[:, :look_back], windows[:, look_back:], indices)


class ChannelScale:
    """Standardization by the mean and standard deviation of each channel of the training split."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    def fit(self, values: NDArray[np.float64], names: list[str]) -> None:
        """Compute the statistics, unless a checkpoint has provided them.

        A channel that varies only by rounding errors counts as constant.

        Args:
            values: Training steps, `(steps, channels)`.
            names: Names of the channels.

        Raises:
            InputError: The checkpoint was trained on other channels.
        """
        if self.names:
            if names != self.names:
                raise _channel_mismatch(self.names, names)
            return
        mean, std = values.mean(0), values.std(0)
        self.names, self.mean = names, mean.tolist()
        self.std = replace_zero_std(std, threshold=1e-12 * np.abs(mean))

    def module(self) -> Standardize:
        """Return the scaling of values `(..., channels)` as a module."""
        return Standardize(self.mean, self.std)

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, so that a checkpoint scales inputs as in training."""
        return {"channel_names": self.names, "channel_mean": self.mean, "channel_std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        names = state_dict["channel_names"]
        if self.names and names != self.names:
            raise _channel_mismatch(names, self.names)
        self.names, self.mean, self.std = names, state_dict["channel_mean"], state_dict["channel_std"]


class SeriesDataModule(ArrayDataModule):
    """Windows of one series, split chronologically. A batch is `(inputs, targets)`, `(N, steps, channels)` each.

    Each channel is scaled on the device by its mean and standard deviation in the training split. A window belongs to
    the split that contains its targets. Inputs of validation and test windows extend into the steps before, which are
    available when the forecast is made. No target is in two splits, and training uses no step of validation or test.
    The series is stored as float32. Each row is one step; gaps in time are not detected. A subclass implements `read`.

    Args:
        look_back: Number of input steps of a forecast.
        horizon: Number of steps to forecast.
        time_column: Column of the time, increasing: numbers, ISO 8601, months (2016-07) or quarters (2016Q3). Default:
            the first column, or the column of dates behind row numbers without a name.
        predict_path: A CSV file for `predict`, with the time column and the channels of training. The forecast starts
            after its last row and uses its last `look_back` rows. The training data are not needed. Default: the test
            split.
        **loading: Arguments of `ArrayDataModule`.
    """

    def __init__(
        self,
        look_back: int,
        horizon: int,
        time_column: str | None = None,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.time_column = time_column
        self.header = True
        self.predict_path = None if predict_path is None else Path(predict_path)
        for name, steps in (("look_back", look_back), ("horizon", horizon)):
            if steps < 1:
                raise InputError(f"{name}: expected at least 1 step, got {steps}")
        self.look_back, self.horizon = look_back, horizon
        self.scale = ChannelScale()
        self.times: list[str] = []  # times of the series: the new one if there is a `predict_path`

    @abstractmethod
    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[StepRange]]:
        """Return the series, `(steps, channels)`, the channel names, and the step ranges of train, val and test."""

    def assign_step_ranges(self, steps: Fingerprint, propose: Callable[[], list[StepRange]]) -> list[StepRange]:
        """Return the step ranges of training, validation and test.

        If the split of a run is recorded, its ranges are kept, without the steps that were removed at the start or end
        of the series. Steps that were added there belong to no split.

        Args:
            steps: Fingerprint of the steps.
            propose: Function that returns the step ranges of a new run.

        Raises:
            InputError: Steps were added or removed in the middle, or none of the steps belongs to the run.
        """
        splits = self.assign_splits(steps, lambda: [torch.arange(*step_range) for step_range in propose()])
        step_ranges: list[StepRange] = []
        for indices in splits.values():
            end = step_ranges[-1][1] if step_ranges else 0
            step_ranges.append((int(indices[0]), int(indices[-1]) + 1) if len(indices) else (end, end))
        return step_ranges

    def load(self) -> dict[str, SeriesWindows]:
        values, names, step_ranges = self.read()
        window = self.look_back + self.horizon
        if window > len(values):
            raise InputError(
                f"look_back {self.look_back} and horizon {self.horizon} need {window} steps, but the series has "
                f"{len(values)}; choose smaller ones, or use a longer series"
            )
        tensor = torch.from_numpy(values).float()
        splits = {}
        for split, step_range in zip(PARTS, step_ranges, strict=True):
            starts = self._window_starts(split, step_range, step_ranges[0][0], len(values))
            splits[split] = SeriesWindows(tensor, self.look_back, self.horizon, starts)
        if (values == values[0]).all():
            raise InputError(f"all channels are constant ({', '.join(names)}); choose other --data.channels")
        self.scale.fit(values[slice(*step_ranges[0])], names)
        return splits

    def _window_starts(self, split: str, step_range: StepRange, first_step: int, size: int) -> Tensor:
        """Return the first step of each window whose targets lie in `step_range`, for a series that starts at
        `first_step`."""
        start, end = step_range
        window = self.look_back + self.horizon
        first, last = max(start - self.look_back, first_step), end - window
        if last < first or start == end:
            required = self.horizon if start else window
            has_folds = self.split_spec is not None and self.split_spec.num_folds is not None
            remedy = "fewer folds" if has_folds else "a larger split"
            raise InputError(
                f"the {split} split is too short: it has {end - start} of the {size} steps, but one window needs "
                f"{required}; choose a smaller look_back or horizon, or {remedy}"
            )
        return torch.arange(first, last + 1)

    def load_predict(self, path: Path) -> ArrayDataset:
        self._ensure_scale()
        values, names, self.times, _ = read_series(path, self.time_column or 0, self.scale.names, self.header)
        if len(values) < self.look_back:
            raise InputError(f"{path}: a forecast needs {self.look_back} steps, but the file has {len(values)}")
        window = torch.from_numpy(values[-self.look_back :]).float().unsqueeze(0)
        return ArrayDataset(window, torch.zeros(1, self.horizon, len(names)))

    new_suffixes, new_kind = (".csv",), "CSV file"

    def _read_new_files(self, files: list[Path]) -> tuple[ArrayDataset, Columns]:
        windows, times = [], []
        for file in files:
            series = read_series(file, self.time_column or 0, self.scale.names, self.header)
            windows.append(self.read_inputs(series.values).inputs)
            times.append(continue_times(series.times, self.horizon))
        samples = ArrayDataset(torch.cat(windows), torch.zeros(len(files), self.horizon, len(self.scale.names)))
        return samples, {"file": list(map(str, files)), "time": times}

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return the windows to forecast from, each the last `look_back` steps of a series.

        A series is a CSV file, a DataFrame with the channels of training, or an array `(steps, channels)`. Several
        are passed as a list, or as an array `(N, steps, channels)`.
        """
        series = read_series_inputs(inputs, self.time_column or 0, self.channel_names, self.header)
        for values in series:
            if len(values) < self.look_back:
                raise InputError(f"a forecast needs {self.look_back} steps, got a series of {len(values)}")
        windows = torch.stack([values[-self.look_back :] for values in series])
        return ArrayDataset(windows, torch.zeros(len(series), self.horizon, windows.shape[2]))

    def describe_reading(self) -> dict[str, Any]:
        """Return the channels, and the number of steps that a forecast reads."""
        return {"kind": "series", "channels": self.channel_names, "look_back": self.look_back}

    def preparation(self) -> Standardize:
        return self.scale.module()

    def feature_groups(self) -> dict[str, list[int]]:
        return {name: [channel] for channel, name in enumerate(self.scale.names)}

    def sample_columns(self) -> Columns:
        """Return the time of each step of a forecast and, of the test split, the value of each channel at that time."""
        windows = self.predicted
        if windows is None:
            return {}
        if self.predict_path is not None:
            return {"time": [continue_times(self.times, self.horizon)]}
        columns = self.split_columns("test", torch.arange(len(windows)))
        targets = windows.targets[windows.indices]  # (N, horizon, channels)
        named = zip(self.channel_names, targets.unbind(2), strict=True)
        return {**columns, **{f"target_{name}": [format_numbers(row) for row in rows] for name, rows in named}}

    def split_columns(self, part: str, positions: Tensor) -> Columns:
        """Return the time of each step of the targets of windows."""
        firsts = (self.splits[part].indices[positions] + self.look_back).tolist()
        return {"time": [self.times[first : first + self.horizon] for first in firsts]}

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        """Return a window and the truth that follows it."""
        inputs, targets = self.splits[part][torch.tensor([position])]
        assert isinstance(inputs, Tensor)
        return {"series": to_npy(torch.cat([inputs[0], targets[0]]), all_steps=True)}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return the steps of the targets of a split: their number, the first and last time, and each channel."""
        windows = self.splits[part]
        first, last = int(windows.indices[0]), int(windows.indices[-1])
        steps = torch.cat([windows.targets[first:last, 0], windows.targets[last]])
        times = self.times[first + self.look_back :][: len(steps)]
        named = zip(self.channel_names, steps.T.numpy(), strict=True)
        return {
            "steps": len(steps),
            "first": times[0],
            "last": times[-1],
            "channels": {name: describe_numbers(channel) for name, channel in named},
        }

    def load_labeled(self, path: Path) -> SeriesWindows:
        """Return all windows of a series. The first targets are the steps after the first `look_back` ones."""
        self._ensure_scale()
        values, *_ = read_series(path, self.time_column or 0, self.scale.names, self.header)
        window = self.look_back + self.horizon
        if len(values) < window:
            raise InputError(
                f"{path}: look_back {self.look_back} and horizon {self.horizon} need {window} steps, but the file has "
                f"{len(values)}"
            )
        return SeriesWindows(torch.from_numpy(values).float(), self.look_back, self.horizon)

    def _ensure_scale(self) -> None:
        if not self.scale.names:
            self.ensure_setup()

    @property
    def input_shape(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return (self.look_back, len(self.channel_names))

    @property
    def channel_names(self) -> list[str]:
        self._ensure_scale()
        return self.scale.names

    @property
    def channel_mean(self) -> list[float]:
        """Mean of each channel in the training split, in the units of the data."""
        self._ensure_scale()
        return self.scale.mean

    @property
    def channel_std(self) -> list[float]:
        """Standard deviation of each channel in the training split, in the units of the data."""
        self._ensure_scale()
        return self.scale.std

    def state_dict(self) -> dict[str, Any]:
        return {**self.scale.state_dict(), "input_shape": list(self.input_shape), "horizon": self.horizon}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.scale.load_state_dict(state_dict)
        check_new_shape(self, state_dict)
        if self.predict_path is not None and (steps := state_dict.get("horizon", self.horizon)) != self.horizon:
            raise InputError(f"horizon: the checkpoint forecasts {steps} steps, got {self.horizon}")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        inputs, targets = batch
        return self.prepare(inputs), self.prepare(targets)


def read_series_inputs(
    inputs: Any, time_column: str | int | None, channels: Sequence[str], has_header: bool = True
) -> list[Tensor]:
    """Return new series as float32, each `(steps, channels)`.

    Args:
        inputs: CSV files, folders, DataFrames or arrays; see `SeriesDataModule.read_inputs`.
        time_column: Name or index of the time column of files; None if there is none.
        channels: Names of the channels.
        has_header: Whether the first line of a file names the columns.

    Raises:
        InputError: A series has other channels, or values that are not finite numbers.
    """
    series: list[Tensor] = []
    for item in [inputs] if is_table(inputs) else as_items(inputs):
        if is_path(item):
            if Path(item).suffix.lower() in ARCHIVE_SUFFIXES:
                arrays = [sample.select(channels) for sample in read_archive(Path(item), needs_label=False)]
            else:
                files = new_files(Path(item), (".csv",), "CSV file")
                arrays = [read_series(file, time_column, channels, has_header).values for file in files]
            series += [torch.from_numpy(array).float() for array in arrays]
            continue
        if is_table(item):
            columns = table_columns(item)
            for name in channels:
                if name not in columns:
                    raise InputError(missing_column("the table", name, columns))
            item = np.array([[np.nan if value is None else value for value in columns[name]] for name in channels]).T
        array = as_array(item, "a series: a CSV file, a DataFrame, or an array (steps, channels)")
        if array.ndim == 1 and len(channels) == 1:
            array = array[:, None]
        if array.ndim not in (2, 3) or array.shape[-1] != len(channels):
            raise InputError(
                f"expected series of shape (steps, {len(channels)}) with the channels {', '.join(channels)}, got an "
                f"array of shape {array.shape}"
            )
        values = torch.from_numpy(array.astype(np.float32))
        if not values.isfinite().all():
            raise InputError("expected finite numbers in a series, got missing, infinite or too large values")
        series += [values] if values.ndim == 2 else list(values)
    return series


def _channel_mismatch(trained: list[str], names: list[str]) -> InputError:
    return InputError(
        f"the checkpoint was trained on the channels {', '.join(trained)}, but the data have {', '.join(names)}; "
        "use the data of its run"
    )
