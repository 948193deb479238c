"""TableCSV: your table, from a CSV or Parquet file."""

from pathlib import Path
from typing import Any, Literal

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.reading import TableFile
from litnets.data.tables.table import Table
from litnets.errors import InputError


class TableCSV(TableDataModule):
    """Your table: a Parquet file, or a CSV file in UTF-8 with column names in the first line.

    A column is numeric if all of its values are numbers, with a decimal point. Otherwise it is categorical. A cell that
    is empty or holds `?`, `NA`, `N/A`, `NaN`, `null` or `None` is missing. Numbers are stored as float32 (7 digits).

        data = TableCSV("houses.csv", target="price", categorical=["postcode"], ignore=["id"])

    Args:
        path: The file. `.parquet` is read as Parquet, any other suffix as CSV.
        target: The column to predict, or a list of columns: multi-label targets (0 and 1, or true and false) or
            numbers.
        task: `classification` or `regression`. By default, a single target is a class if it is text, or an integer with
            at most 20 distinct values; several targets are multi-label if all are binary. Other targets are numbers.
        categorical: Numeric columns to treat as categories, such as a postcode.
        ignore: Columns to leave out, such as a row number.
        **splitting: Arguments of `TableDataModule`, `SplitDataModule` and `ArrayDataModule`.

    Raises:
        InputError: The file or a value in it is invalid. The message names the column, and the row, counted from 1
            without the header.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        task: Literal["classification", "regression"] | None = None,
        categorical: list[str] | None = None,
        ignore: list[str] | None = None,
        **splitting: Any,
    ) -> None:
        super().__init__(**splitting)
        self.path = Path(path)
        if not target:
            raise InputError("target: expected at least one column, got none")
        self.target_columns = [target] if isinstance(target, str) else target
        self.task = task
        self.categorical, self.ignore = categorical or [], ignore or []

    def read(self) -> Table:
        file = TableFile(self.path, self.separator, self.target_columns, self.task, self.categorical, self.ignore)
        return file.read()
