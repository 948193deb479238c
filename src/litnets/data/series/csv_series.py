"""SeriesCSV: forecast your time series from a CSV file."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.fingerprint import Fingerprint, digest_each, digest_rows
from litnets.data.core.splits import SplitSpec, chronological_ends, expanding_window_split
from litnets.data.series.base import SeriesDataModule, StepRange
from litnets.data.series.reading import read_series, report_names_like_data


class SeriesCSV(SeriesDataModule):
    """Your time series: a CSV file (UTF-8, comma-separated, with a header), one row per step, in chronological order.

    The last steps are the test split, the steps before them the validation split, and the rest the training split.
    Cross-validation uses an expanding window, like scikit-learn's TimeSeriesSplit: the series is divided into
    `num_folds` + 1 equal blocks. Fold `k` tests on block `k` + 1 and trains on all blocks before it, whose last steps
    are the validation split.

        data = SeriesCSV("load.csv", look_back=96, horizon=24, channels=["load", "temperature"])

    Args:
        path: The file.
        look_back: Number of input steps of a forecast.
        horizon: Number of steps to forecast.
        channels: Columns to read and forecast. Default: all except the time column.
        header: Whether the first line names the columns. Without, they are `column_1`, `column_2` ...
        val_size: Validation split, a fraction or a number of steps; with folds, of the steps before the test block.
        test_size: Test split, a fraction or a number of steps; with folds, it is the fold.
        num_folds: Number of cross-validation folds.
        fold: Index of the fold to test on, from 0. Later folds have more training steps.
        **loading: Arguments of `SeriesDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        look_back: int = 96,
        horizon: int = 24,
        channels: list[str] | None = None,
        header: bool = True,
        val_size: float = 0.2,
        test_size: float = 0.2,
        num_folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(look_back, horizon, **loading)
        self.path, self.channels, self.header = Path(path), channels, header
        self.split_spec = SplitSpec(val_size, test_size, num_folds=num_folds, fold=fold)

    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[StepRange]]:
        values, names, times, _ = read_series(self.path, self.time_column or 0, self.channels, self.header)
        if self.header and self.trained_state is None:
            report_names_like_data(self.path, names)
        self.times = times
        steps = Fingerprint(
            digest_each(time.encode() for time in times),
            digest_rows(values),
            "step",
            times.__getitem__,
            is_sequence=True,
        )
        step_ranges = self.assign_step_ranges(steps, lambda: self._split(len(values)))
        return values, names, step_ranges

    def _split(self, size: int) -> list[StepRange]:
        spec = self.split_spec
        assert spec is not None
        if spec.num_folds is None:
            ends = chronological_ends(size, spec.val_size, spec.test_size)
        else:
            ends = expanding_window_split(size, spec.val_size, spec.num_folds, spec.fold)
        return list(pairwise((0, *ends)))
