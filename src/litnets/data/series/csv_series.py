"""SeriesCSV: your own time series to forecast, one CSV file."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.fingerprint import Fingerprint, digest_each, digest_rows
from litnets.data.core.splits import SplitSpec, chronological_ends, expanding_window_split
from litnets.data.series.base import SeriesDataModule, Stretch
from litnets.data.series.reading import read_series


class SeriesCSV(SeriesDataModule):
    """A series of your own: a CSV file (UTF-8, commas, a header), one row a step, in the order of time.

    The last steps are the test split, those before them validation, the rest training: a share or a number of steps.
    With folds, cross-validation goes forward in time (scikit-learn's TimeSeriesSplit): of `num_folds` + 1 equal blocks
    each but the first is tested once, by what was learnt from the blocks before it, of which the last part validates.

    Args:
        path: The file.
        look_back: Steps that a forecast is made from.
        horizon: Steps that are forecast.
        channels: Columns to read and forecast; none takes all but the time.
        val_size: Validation split, a share or a number of steps; with folds, of what is before the test block.
        test_size: Test split, a share or a number of steps; with folds it is the fold.
        num_folds: Cross-validation: the number of folds.
        fold: The fold that is tested, from 0; the later, the more there is to learn from.
        **loading: Arguments of `SeriesDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        look_back: int = 96,
        horizon: int = 24,
        channels: list[str] | None = None,
        val_size: float = 0.2,
        test_size: float = 0.2,
        num_folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(look_back, horizon, **loading)
        self.path, self.channels = Path(path), channels
        self.split_spec = SplitSpec(val_size, test_size, num_folds=num_folds, fold=fold)

    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[Stretch]]:
        values, names, times, _ = read_series(self.path, self.time_column or 0, self.channels)
        steps = Fingerprint(
            digest_each(time.encode() for time in times),
            digest_rows(values),
            "step",
            times.__getitem__,
            is_sequence=True,
        )
        stretches = self.assign_stretches(steps, lambda: self._split(len(values)))
        return values, names, stretches

    def _split(self, size: int) -> list[Stretch]:
        spec = self.split_spec
        assert spec is not None
        if spec.num_folds is None:
            ends = chronological_ends(size, spec.val_size, spec.test_size)
        else:
            ends = expanding_window_split(size, spec.val_size, spec.num_folds, spec.fold)
        return list(pairwise((0, *ends)))
