"""ETTh1 and ETTh2: electricity transformer temperatures."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.download import check_md5, download
from litnets.data.core.splits import expanding_window_split
from litnets.data.series.base import SeriesDataModule, StepRange
from litnets.data.series.reading import read_series


class ETTh1(SeriesDataModule):
    """Load and oil temperature (OT) of an electricity transformer: 7 channels, hourly from July 2016.

    The split is that of the Informer paper (Zhou et al. 2021): 12 months for training, 4 for validation and 4 for test,
    of 30 days each. Later steps are not used. Cross-validation uses an expanding window over the months of training and
    validation: they are divided into `num_folds` + 1 equal blocks. Fold `k` validates on block `k` + 1 and trains on
    the blocks before it. The test split is the same in all folds.

    The file is `data_dir/ETT-small/ETTh1.csv`. If missing, it is downloaded on first use from
    raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv (CC BY-ND 4.0). It is verified by its MD5
    checksum.

        litnets fit --model LinearForecaster --data ETTh1

    Args:
        data_dir: Folder of the data sets.
        look_back: Number of input hours of a forecast.
        horizon: Number of hours to forecast.
        num_folds: Number of cross-validation folds; the held-out fold is the validation split.
            Default: no folds.
        fold: Index of the held-out fold, from 0. Later folds have more training steps.
        **loading: Arguments of `SeriesDataModule` and `ArrayDataModule`.
    """

    url: ClassVar[str] = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"
    md5: ClassVar[str] = "8381763947c85f4be6ac456c508460d6"
    size: ClassVar[int] = 2_589_657  # in bytes
    ends: ClassVar[tuple[int, int, int]] = (12 * 30 * 24, 16 * 30 * 24, 20 * 30 * 24)

    def __init__(
        self,
        data_dir: str = "data",
        look_back: int = 336,
        horizon: int = 96,
        num_folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(look_back, horizon, **loading)
        self.num_folds, self.fold = num_folds, fold
        self.path = Path(data_dir) / "ETT-small" / f"{type(self).__name__}.csv"

    def download(self) -> None:
        download([self.url + self.path.name], self.path, self.md5, self.size)

    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[StepRange]]:
        if self.path.exists():
            check_md5(self.path, self.md5)
        values, names, self.times, _ = read_series(self.path, "date")
        train, val, test = pairwise((0, *self.ends))
        if self.num_folds is not None:
            _, start, end = expanding_window_split(val[1], 0, self.num_folds, self.fold)
            train, val = (0, start), (start, end)
        return values[: test[1]], names, (train, val, test)


class ETTh2(ETTh1):
    """The same channels as `ETTh1`, of another transformer.

    The file is `data_dir/ETT-small/ETTh2.csv`. If missing, it is downloaded on first use from
    raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh2.csv.
    """

    md5 = "51a229a3fc13579dd939364fefe9c7ab"
    size = 2_417_960
