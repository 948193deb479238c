"""TableCSV: your own table, CSV or Parquet."""

from pathlib import Path
from typing import Any, Literal

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.reading import TableFile
from litnets.data.tables.table import Table
from litnets.errors import InputError


class TableCSV(TableDataModule):
    """Your own table: a CSV (UTF-8, its first line the names of the columns) or a Parquet file.

    A column is numbers if every value in it is a number, with a decimal point, else categories; a cell that is empty or
    says `?`, `NA`, `N/A`, `NaN`, `null` or `None` is missing. Numbers are kept as float32, to seven digits.

    Args:
        path: The file; `.parquet` is read as Parquet, all else as CSV.
        target: The column to predict, or several: flags (0 and 1, or true and false) of a multi-label classification,
            or numbers.
        task: `classification` or `regression`. By default, one target is classes if it is text, or whole numbers of at
            most 20 different values, and several are classes if all are flags; all else is numbers.
        categorical: Columns of numbers that are categories, such as a postcode.
        ignore: Columns to leave out, such as the number of the row.
        **splitting: Arguments of `TableDataModule` and `ArrayDataModule`.

    Raises:
        InputError: What is wrong with the file, with the name of its column and the row, counted from 1 without the
            header.
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
            raise InputError("target: expected a column or several, got none")
        self.target_columns = [target] if isinstance(target, str) else target
        self.task = task
        self.categorical, self.ignore = categorical or [], ignore or []

    def read(self) -> Table:
        file = TableFile(self.path, self.separator, self.target_columns, self.task, self.categorical, self.ignore)
        return file.read()
