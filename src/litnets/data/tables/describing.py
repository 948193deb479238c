"""Describe the rows of a table for a report: one row, its columns, and the columns to slice results by."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.data_card import describe_numbers
from litnets.data.core.raw_inputs import shortest
from litnets.data.tables.dates import part_names
from litnets.data.tables.table import Table

MAX_SLICE_COLUMNS = 8
MAX_SLICE_VALUES = 12  # distinct values of a column that results are sliced by
_SHOWN_CATEGORIES = 10

Cell = int | float | str | None


class TableCells:
    """The columns of a table as they were read: numbers, dates and texts, each by its name.

    Args:
        table: The table.
        rows: Indices of some of its rows.
    """

    def __init__(self, table: Table, rows: Tensor) -> None:
        self.table, self.encoding = table, table.encoding
        self._columns: dict[str, NDArray[np.float64]] = dict(
            zip(table.columns, table.inputs[rows].double().numpy().T, strict=True)
        )
        self._categories = dict(zip(self.encoding.categorical, table.categories, strict=True))

    @property
    def names(self) -> list[str]:
        return self.encoding.required

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """Return a column of numbers, or the days since 1970 of a column of dates; NaN where a value is missing.

        None for a column of texts.
        """
        if name in self._categories:
            return None
        return self._columns[self._days(name) if name in self.encoding.dates else name]

    def cells(self, name: str) -> list[Cell]:
        """Return the cells of a column, None where one is missing."""
        if (categories := self._categories.get(name)) is not None:
            return [categories[int(code)] if code < len(categories) else None for code in self._columns[name]]
        values = self.numbers(name)
        assert values is not None
        if name in self.encoding.dates:
            return [None if np.isnan(value) else to_date(value) for value in values]
        is_whole = bool((values[~np.isnan(values)] % 1 == 0).all())
        to_cell = int if is_whole else shortest
        return [None if np.isnan(value) else to_cell(value) for value in values]

    def _days(self, name: str) -> str:
        return part_names(name, self.encoding.dates[name])[0]


def to_date(days: float) -> str:
    """Return days since 1970-01-01 as ISO 8601. Seconds are lost, because the days are stored as float32."""
    moment = datetime(1970, 1, 1) + timedelta(minutes=round(days * 1440))
    return moment.date().isoformat() if days == int(days) else moment.isoformat(" ", "minutes")


def describe_columns(table: Table, train: Tensor) -> list[dict[str, Any]]:
    """Return a description of each column, in the order of the file: what `ColumnSummary` has, and its training values.

    Args:
        table: The table.
        train: Indices of the training rows.
    """
    cells = TableCells(table, train)
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
    values = cells.numbers(name)
    if values is None:
        texts, counts = np.unique([str(cell) for cell in cells.cells(name) if cell is not None], return_counts=True)
        most = np.lexsort((texts, -counts))[:_SHOWN_CATEGORIES]
        return {"categories": {str(texts[i]): int(counts[i]) for i in most}}
    if name in cells.encoding.dates:
        return {"first": to_date(np.nanmin(values)), "last": to_date(np.nanmax(values))}
    return {"values": describe_numbers(values)}


def count_missing(table: Table, rows: Tensor) -> dict[str, int]:
    """Return the number of missing values in each column that has any, in these rows."""
    cells = TableCells(table, rows)
    counts = {name: sum(cell is None for cell in cells.cells(name)) for name in cells.names}
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
    distinct = values[~values.isnan()].unique()
    return 2 <= len(distinct) <= MAX_SLICE_VALUES and bool((distinct == distinct.round()).all())
