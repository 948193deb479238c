"""ETTh1 and ETTh2: electricity transformer temperatures."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.download import download, md5_of
from litnets.data.core.splits import expanding_window_split
from litnets.data.series.base import SeriesDataModule, Stretch
from litnets.data.series.reading import read_series
from litnets.errors import InputError


class ETTh1(SeriesDataModule):
    """Load and oil temperature (OT) of an electricity transformer, 7 channels, each hour from July 2016 on (Zhou et al.
    2021, Informer). The split is that of the papers: 12 months for training, 4 for validation, 4 for test, a month
    being 30 days; what comes after them is not used.

    With folds, cross-validation goes forward in time over the months of training and validation: of `num_folds` + 1
    equal blocks each but the first validates once what was learnt from the blocks before it. The test split stays.

    Read from `data_dir/ETT-small/ETTh1.csv`; if it is not there, it is downloaded on first use from
    raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv and held against its MD5. Its licence is
    CC BY-ND 4.0.

    Args:
        data_dir: Folder of the data sets.
        look_back: Hours that a forecast is made from.
        horizon: Hours that are forecast.
        num_folds: Cross-validation: the number of folds; the validation split is the fold.
        fold: The fold that is held out, from 0; the later, the more there is to learn from.
        **loading: Arguments of `ArrayDataModule`.
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

    def read(self) -> tuple[NDArray[np.float64], list[str], Sequence[Stretch]]:
        if self.path.exists() and (found := md5_of(self.path)) != self.md5:
            raise InputError(
                f"{self.path} is broken: its MD5 is {found}, expected {self.md5}; delete it and it will be downloaded "
                f"anew, or put a good copy there"
            )
        values, names, *_ = read_series(self.path, "date")
        train, val, test = pairwise((0, *self.ends))
        if self.num_folds is not None:
            _, start, end = expanding_window_split(val[1], 0, self.num_folds, self.fold)
            train, val = (0, start), (start, end)
        return values[: test[1]], names, (train, val, test)


class ETTh2(ETTh1):
    """As `ETTh1`, of another transformer: `data_dir/ETT-small/ETTh2.csv`, from
    raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh2.csv."""

    md5 = "51a229a3fc13579dd939364fefe9c7ab"
    size = 2_417_960
