"""TableCSV: your table, from a CSV or Parquet file."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_only

from litnets.data.core.batching import ArrayDataset
from litnets.data.core.sample_columns import Columns, carried
from litnets.data.core.split_files import SplitFilesDataModule
from litnets.data.tables.base import TableDataModule
from litnets.data.tables.reading import cells_of, encode_new, read_rows, read_table
from litnets.data.tables.roles import ColumnRoles
from litnets.data.tables.spoilers import find_spoilers
from litnets.data.tables.table import Table, digest_table
from litnets.data.tables.targets import encode_targets
from litnets.errors import InputError
from litnets.safety.escaping import printable

_SUFFIXES = (".csv", ".tsv", ".parquet")


class TableCSV(SplitFilesDataModule, TableDataModule):
    """Your table: a Parquet file, or a CSV file in UTF-8 with column names in the first line.

    A column is numeric if all of its values are numbers. A column of dates becomes the number of days since 1970, and
    the position in the year and in the week as sine and cosine (also in the day, if there are times). Every other
    column is categorical. A cell that is empty or holds `?`, `NA`, `N/A`, `NaN`, `null` or `None` is missing. Numbers
    are stored as float32 (7 digits).

    Columns that identify rows are left out: an index, integers that number the rows, and texts that differ in more than
    nine of ten rows. They are reported in one line; `keep_columns` uses them anyway. Classes and categories are
    compared as they are written: `1` and `01` differ.

        data = TableCSV("houses.csv", target="price", categorical=["postcode"], ignore=["id"])

    Args:
        path: The file, or a folder with a file of each split: `train.csv`, `test.csv` and perhaps `val.csv`. The suffix
            `.parquet` is read as Parquet, any other as CSV.
        target: The column to predict, or a list of columns: multi-label targets (0 and 1, or true and false) or
            numbers.
        task: `classification` or `regression`. By default, a single target is a class if it is text, or an integer with
            at most 20 distinct values; several targets are multi-label if all are binary. Other targets are numbers.
        categorical: Columns of numbers or dates to treat as categories, such as a postcode. Default: none.
        ignore: Columns to leave out. Default: none.
        keep_columns: Columns to use although they look like row numbers, names or free text. Default: none.
        id_columns: Columns that identify rows. They are left out of the inputs and repeated in predictions.csv.
            Default: none.
        group_column: Column whose equal values mark rows that belong together, such as those of one patient. They stay
            in the same split and fold, so that the test measures how well the network does on new groups. The column is
            left out of the inputs. Default: each row stands alone.
        **splitting: Arguments of `SplitFilesDataModule`, `TableDataModule`, `SplitDataModule` and `ArrayDataModule`.

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
        keep_columns: list[str] | None = None,
        id_columns: list[str] | None = None,
        group_column: str | None = None,
        **splitting: Any,
    ) -> None:
        super().__init__(path, **splitting)
        if not target:
            raise InputError("target: expected at least one column, got none")
        targets = [target] if isinstance(target, str) else target
        self.id_columns = id_columns or []
        left_out = [*(ignore or []), *self.id_columns]
        if group_column is not None and group_column not in left_out:
            left_out.append(group_column)
        self.roles = ColumnRoles(targets, task, categorical or [], left_out, keep_columns or [], group_column)
        self._files: list[Path] = []

    def read(self) -> Table:
        paths = self.find_files(_SUFFIXES)
        self._files = list(paths.values())
        return read_table(paths, self.table_format, self.roles, self.trained_encoding)

    def load(self) -> dict[str, ArrayDataset]:
        splits = super().load()
        if self.trained_state is None:
            indices = {part: split.indices for part, split in splits.items()}
            spoilers = find_spoilers(self.table, indices, digest_table(self.table))
            for line in (*self.table.notes, *(f"{self.path}: {spoiler}" for spoiler in spoilers)):
                rank_zero_only(print)(printable(line), flush=True)
        return splits

    def carried_columns(self, part: str = "test") -> Columns:
        if self._rows is not None:  # new rows
            targets = self.roles.targets
            labeled = cells_of(self._rows, targets) if set(targets) <= set(self._rows.frame.columns) else {}
            named = {"target" if len(targets) == 1 else f"target_{name}": cells for name, cells in labeled.items()}
            return {**carried(cells_of(self._rows, self.id_columns)), **named}
        if not self.id_columns or self._split_samples is None:
            return {}
        rows = read_rows(self._files, self.table_format)
        return carried(cells_of(rows, self.id_columns), self._split_samples[1][part].tolist())

    def load_labeled(self, path: Path) -> ArrayDataset:
        rows, encoding = read_rows([path], self.table_format), self._known_encoding()
        return ArrayDataset(encode_new(rows, encoding), encode_targets(rows, self.roles, encoding))
