"""Describe the rows of a table for a report: one row, its columns, and the columns to slice results by."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.data_card import describe_numbers, sample_evenly
from litnets.data.core.raw_inputs import shortest
from litnets.data.tables.dates import part_names
from litnets.data.tables.table import Table

MAX_SLICE_COLUMNS = 8
MAX_SLICE_VALUES = 12  # distinct values of a column that results are sliced by
_SHOWN_CATEGORIES = 10
_MAX_DESCRIBED = 100_000

Cell = int | float | str | None


class TableCells:
    """The columns of a table as they were read: numbers, dates and texts, each by its name.

    Args:
        table: The table.
        rows: Indices of some of its rows.
    """

    def __init__(self, table: Table, rows: Tensor) -> None:
        self.table, self.rows, self.encoding = table, rows, table.encoding
        self._categories = dict(zip(self.encoding.categorical, table.categories, strict=True))

    @property
    def names(self) -> list[str]:
        return self.encoding.required

    def categories(self, name: str) -> list[str] | None:
        """Return the distinct texts of a column; None for a column of numbers or dates."""
        return self._categories.get(name)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return numbers, or the days since 1970 of dates, NaN where one is missing; or the indices of texts in
        `categories`, whose length stands for a missing one."""
        date_format = self.encoding.dates.get(name)
        column = name if date_format is None else part_names(name, date_format)[0]
        values: NDArray[np.float64] = self.table.inputs[self.rows, self.table.columns.index(column)].double().numpy()
        return values

    def is_missing(self, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column are missing."""
        texts, values = self.categories(name), self.values(name)
        return np.isnan(values) if texts is None else values == len(texts)

    def cells(self, name: str) -> list[Cell]:
        """Return the cells of a column, None where one is missing."""
        values = self.values(name)
        if (texts := self.categories(name)) is not None:
            return [*map([*texts, None].__getitem__, values.astype(int))]
        if name in self.encoding.dates:
            return [None if np.isnan(value) else to_date(value) for value in values]
        is_whole = bool((values[~np.isnan(values)] % 1 == 0).all())
        to_cell = int if is_whole else shortest
        return [None if np.isnan(value) else to_cell(value) for value in values]


def to_date(days: float) -> str:
    """Return days since 1970-01-01 as ISO 8601. Seconds are lost, because the days are stored as float32."""
    moment = datetime(1970, 1, 1) + timedelta(minutes=round(days * 1440))
    return moment.date().isoformat() if days == int(days) else moment.isoformat(" ", "minutes")


def describe_columns(table: Table, train: Tensor) -> list[dict[str, Any]]:
    """Return a description of each column, in the order of the file: what `ColumnSummary` has, and its training values.

    Args:
        table: The table.
        train: Indices of the training rows. The values are those of at most 100,000 of them.
    """
    cells = TableCells(table, train[sample_evenly(len(train), _MAX_DESCRIBED)])
    described: dict[str, dict[str, Any]] = {
        column.name: {
            "name": column.name,
            "type": column.kind,
            "missing": column.missing,
            "distinct": column.distinct,
            "use": column.use,
        }
        for column in table.summary
    }
    for name in cells.names:
        described.setdefault(name, {"name": name}).update(_describe_values(cells, name))
    return list(described.values())


def _describe_values(cells: TableCells, name: str) -> dict[str, Any]:
    values = cells.values(name)
    if (texts := cells.categories(name)) is not None:
        counts = np.bincount(values.astype(int), minlength=len(texts))[: len(texts)]
        frequent = np.argsort(-counts, kind="stable")[:_SHOWN_CATEGORIES]
        return {"categories": {texts[i]: int(counts[i]) for i in frequent if counts[i]}}
    if name in cells.encoding.dates:
        present = values[~np.isnan(values)]
        return {"first": to_date(present.min()), "last": to_date(present.max())} if len(present) else {}
    return {"values": describe_numbers(values)}


def count_missing(table: Table, rows: Tensor) -> dict[str, int]:
    """Return the number of missing values in each column that has any, in these rows."""
    cells = TableCells(table, rows)
    counts = {name: int(cells.is_missing(name).sum()) for name in cells.names}
    return {name: count for name, count in counts.items() if count}


def slice_columns(table: Table, rows: Tensor) -> dict[str, Sequence[Cell]]:
    """Return the cells of these rows in the first columns of few distinct values: texts, and whole numbers."""
    cells = TableCells(table, rows)
    chosen = [name for name in cells.names if _has_few_values(table, name)][:MAX_SLICE_COLUMNS]
    return {name: cells.cells(name) for name in chosen}


def _has_few_values(table: Table, name: str) -> bool:
    if name in table.encoding.dates:
        return False
    if name in table.encoding.categorical:
        index = table.encoding.categorical.index(name)
        return 2 <= len(table.categories[index]) <= MAX_SLICE_VALUES
    values = table.inputs[:, table.columns.index(name)]
    for some in (values[:1000], values):  # most columns of numbers have many values in the first rows
        distinct = some[~some.isnan()].unique()
        if len(distinct) > MAX_SLICE_VALUES or not (distinct == distinct.round()).all():
            return False
    return len(distinct) >= 2
