"""SeriesCSV: forecast your time series from a CSV file."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.fingerprint import Fingerprint, digest_each, digest_rows
from litnets.data.core.predefined_splits import find_split_files
from litnets.data.core.splits import SplitSpec, chronological_ends, expanding_window_split
from litnets.data.series.base import SeriesDataModule, StepRange
from litnets.data.series.reading import Series, check_later, read_series, report_names_like_data
from litnets.errors import InputError


class SeriesCSV(SeriesDataModule):
    """Your time series: a CSV file (UTF-8, comma-separated, with a header), one row per step, in chronological order.

    The last steps are the test split, the steps before them the validation split, and the rest the training split.
    Cross-validation uses an expanding window, like scikit-learn's TimeSeriesSplit: the series is divided into
    `num_folds` + 1 equal blocks. Fold `k` tests on block `k` + 1 and trains on all blocks before it, whose last steps
    are the validation split.

    Alternatively, each split has its own file, whose steps are later than those of the split before it: `path` is a
    folder with `train.csv`, `test.csv` and perhaps `val.csv` (also named `valid`, `validation` or `dev`), or the file
    of the training split.
    Without a file, the validation split is the end of the training file.

        data = SeriesCSV("load.csv", look_back=96, horizon=24, channels=["load", "temperature"])

    Args:
        path: The file, or a folder with a file of each split.
        look_back: Number of input steps of a forecast.
        horizon: Number of steps to forecast.
        channels: Columns to read and forecast. Default: all except the time column.
        header: Whether the first line names the columns; if not, they are `column_1`, `column_2` ...
        val_path: File of the validation split, if `path` is the file of the training split. Default: a part of `path`.
        test_path: File of the test split. Default: a part of `path`.
        val_size: Validation split, a fraction or a number of steps; with folds, of the steps before the test block.
        test_size: Test split, a fraction or a number of steps; with folds, it is the fold.
        num_folds: Number of cross-validation folds. Default: no folds.
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
        val_path: str | None = None,
        test_path: str | None = None,
        val_size: float = 0.2,
        test_size: float = 0.2,
        num_folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(look_back, horizon, **loading)
        self.path, self.channels, self.header = Path(path), channels, header
        paths = {"val": val_path, "test": test_path}
        self.split_paths = {part: Path(split_path) for part, split_path in paths.items() if split_path is not None}
        self.split_spec = SplitSpec(val_size, test_size, num_folds=num_folds, fold=fold)

    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[StepRange]]:
        files = find_split_files(self.path, (".csv",), self.split_paths)
        names = self.channels
        series: list[Series] = []
        for path in files.values():
            series.append(read_series(path, self.time_column or 0, names, self.header))
            names = series[-1].channels  # the first file defines the channels
            if len(series) > 1:
                check_later(path, series[-2], series[-1])
        assert names is not None
        if self.header and self.trained_state is None:
            report_names_like_data(files["train"], names)
        values = np.concatenate([part.values for part in series])
        self.times = times = [time for part in series for time in part.times]
        steps = Fingerprint(
            digest_each(time.encode() for time in times),
            digest_rows(values),
            "step",
            times.__getitem__,
            is_sequence=True,
        )
        sizes = {split: len(part.values) for split, part in zip(files, series, strict=True)}
        return values, names, self.assign_step_ranges(steps, lambda: self._split(sizes))

    def _split(self, sizes: Mapping[str, int]) -> list[StepRange]:
        """Return the step ranges of a new run, given the number of steps in the file of each split."""
        spec = self.split_spec
        assert spec is not None
        size = sizes["train"]
        if len(sizes) > 1 and "test" not in sizes:
            raise InputError(f"{self.path}: a validation split without a test split after it; set --data.test_path")
        if len(sizes) > 1 and spec.num_folds is not None:
            raise InputError("num_folds: expected a single file, but the test split has its own; remove the option")
        if len(sizes) > 1:
            end, *_ = chronological_ends(size, 0 if "val" in sizes else spec.val_size, 0)
            val_end = size + sizes.get("val", 0)
            return [(0, end), (end, val_end), (val_end, val_end + sizes["test"])]
        if spec.num_folds is None:
            ends = chronological_ends(size, spec.val_size, spec.test_size)
        else:
            ends = expanding_window_split(size, spec.val_size, spec.num_folds, spec.fold)
        return list(pairwise((0, *ends)))
