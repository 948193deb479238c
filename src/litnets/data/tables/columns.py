"""A column of a table: its cells as texts and as numbers, and what they appear to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from litnets.data.core.csv_files import INDEX_NAMES
from litnets.data.tables.dates import FIRST_DAY, LAST_DAY, DateFormat, detect_format, stored_days
from litnets.errors import InputError

if TYPE_CHECKING:
    import polars

# Cells that stand for a missing value, besides NaN in any case (the UCI repository uses `?`).
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None")
# A text column with more distinct values than this fraction of its rows holds names or free text, not categories.
MAX_UNIQUE_FRACTION = 0.9

# Numbers with a decimal comma, in which points separate thousands, and the other way round.
_DECIMAL_COMMA = r"^[-+]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?$"
_DECIMAL_POINT = r"^[-+]?(\d*|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?$"
# A comma that cannot separate thousands.
_IS_DECIMAL_COMMA = r"(^[-+]?0|\d{4}),|,(\d{1,2}|\d{4,})$"
_HAS_BOTH = r",\d{3}\.\d+$"

Array = NDArray[Any]
Decimal = Literal[".", ","] | None


@dataclass(frozen=True)
class Rows:
    """The rows of one file or of several.

    Args:
        frame: The cells.
        files: The files, with the number of rows of each.
        decimal: Decimal separator of the numbers; None for a point (see `parse_numbers`).
    """

    frame: "polars.DataFrame"
    files: list[tuple[Path, int]]
    decimal: Decimal = None
    _columns: dict[str, "Column"] = field(default_factory=dict, init=False, repr=False)

    @property
    def path(self) -> Path:
        """The first file, for messages."""
        return self.files[0][0]

    def locate(self, row: int) -> tuple[Path, int]:
        """Return the file of a row and its number there, counted from 1 without the header."""
        for path, size in self.files:
            if row < size:
                return path, row + 1
            row -= size
        raise IndexError(row)

    def cell(self, name: str, row: int, noun: str = "column") -> str:
        """Return where a cell is, for messages."""
        path, number = self.locate(row)
        return f"{path}: {noun} '{name}', row {number}"

    def column(self, name: str) -> "Column":
        if name not in self._columns:
            self._columns[name] = Column(self, self.frame[name])
        return self._columns[name]


class Column:
    """A column of a table.

    Args:
        rows: The table.
        series: The column.

    Attributes:
        texts: The cells as strings, null for missing values. A float column that holds only integers is written
            without decimal points.
        values: The cells as Float64, null for missing values and for texts that are not numbers.
    """

    def __init__(self, rows: Rows, series: "polars.Series") -> None:
        import polars as pl

        self.rows, self.series, self.name = rows, series, series.name
        text_types = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
        self.is_date_type = series.dtype == pl.Date or isinstance(series.dtype, pl.Datetime)
        if not series.dtype.is_numeric() and series.dtype not in text_types and not self.is_date_type:
            raise InputError(
                f"{rows.path}: column '{self.name}': expected numbers, texts or dates, got {series.dtype}; convert it "
                "to numbers, or list it in --data.ignore"
            )
        if self.is_date_type:
            self._check_dates()
            self.texts = series.cast(pl.String)
            self.values = pl.Series(self.name, [None] * len(series), pl.Float64)
        elif series.dtype == pl.Boolean or series.dtype.is_numeric():
            values = series.cast(pl.Float64).fill_nan(None)
            series = series.set(values.is_null(), None)
            present = values.drop_nulls()
            if series.dtype.is_float() and (present.abs() < 2**53).all() and (present == present.floor()).all():
                series = series.cast(pl.Int64)  # pandas writes integers as floats if one is missing
            self.texts, self.values = series.cast(pl.String), values
        else:
            texts = series.cast(pl.String).str.strip_chars()
            texts = texts.set(texts.is_in(list(MISSING)).fill_null(True), None)
            values = parse_numbers(texts, rows.decimal)
            self.texts = texts.set(values.is_nan().fill_null(False), None)
            self.values = values.fill_nan(None)

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def num_missing(self) -> int:
        return self.texts.null_count()

    @cached_property
    def num_distinct(self) -> int:
        """Number of distinct texts, without missing values."""
        return self.texts.drop_nulls().n_unique()

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct texts, without missing values, sorted as strings."""
        return sorted(self.texts.drop_nulls().unique().to_list())

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all values are numbers or truth values.

        Raises:
            InputError: Most but not all values are numbers, or their commas may separate decimals or thousands.
        """
        import polars as pl

        num_present, num_numbers = len(self) - self.num_missing, len(self) - self.values.null_count()
        if self.series.dtype == pl.Boolean:
            return True
        if num_numbers < num_present and self.series.dtype == pl.String:
            self._check_commas()
        if 0.9 * num_present <= num_numbers < num_present:
            row = self.not_a_number()
            assert row is not None
            raise InputError(
                f"{self.rows.cell(self.name, row)}: expected a number as in most rows, got '{self.texts[row]}'; fix "
                "it, or list the column in --data.categorical"
            )
        return 0 < num_present == num_numbers

    @cached_property
    def is_integer(self) -> bool:
        """Whether all values are whole numbers."""
        return self.is_numeric and self.kind != "number"

    @cached_property
    def date_format(self) -> DateFormat | None:
        """How dates are written, if all values are dates."""
        return detect_format(self.series if self.is_date_type else self.texts)

    @property
    def kind(self) -> str:
        """What the values appear to be: `integer`, `number`, `boolean`, `date` or `text`."""
        import polars as pl

        if self.series.dtype == pl.Boolean:
            return "boolean"
        if self.values.null_count() == self.num_missing < len(self):
            values = self.values.drop_nulls()
            return "integer" if bool((values == values.round()).all()) else "number"
        return "date" if self.date_format else "text"

    def not_a_number(self) -> int | None:
        """Return the first row with a text that is not a number, or None."""
        invalid = (self.values.is_null() & self.texts.is_not_null()).arg_true()
        return int(invalid[0]) if len(invalid) else None

    def to_array(self) -> Array:
        """Return numbers, NaN where one is missing. Raise InputError for one that float32 cannot hold."""
        array = self.values.to_numpy().astype(float)
        too_large = np.abs(array) > np.finfo(np.float32).max
        if too_large.any():
            row = int(too_large.argmax())
            value = "infinity" if np.isinf(array[row]) else f"{array[row]:g}, which is too large for float32"
            raise InputError(
                f"{self.rows.cell(self.name, row)}: expected a finite number, got {value}; fix it, or leave the cell "
                "empty"
            )
        return array

    def reason_to_leave_out(self) -> str | None:
        """Return why a column identifies rows instead of describing them, or None."""
        if self.name in INDEX_NAMES:
            return "the index of the rows"
        if self.is_numeric:
            return "numbers the rows" if self.is_integer and self._has_row_numbers() else None
        num_present = len(self) - self.num_missing
        if self.date_format is None and self.num_distinct > max(1, MAX_UNIQUE_FRACTION * num_present):
            return f"{self.num_distinct} different texts in {num_present} rows"
        return None

    def _has_row_numbers(self) -> bool:
        """Return whether the integers are consecutive in each file, or in the complete table after sorting."""
        if self.num_missing or len(self) < 2:
            return False
        values = self.values.to_numpy()
        files = np.split(values, np.cumsum([size for _, size in self.rows.files])[:-1])
        return all((np.diff(part) == 1).all() for part in files) or bool((np.diff(np.sort(values)) == 1).all())

    def _check_dates(self) -> None:
        """Raise InputError for a date outside the years 1 to 9999."""
        is_date = stored_days(self.series).is_between(FIRST_DAY, LAST_DAY + 1, closed="left")
        if not is_date.fill_null(True).all():
            row = int((~is_date).arg_true()[0])
            raise InputError(f"{self.rows.cell(self.name, row)}: expected a date in the years 1 to 9999; fix it")

    def _check_commas(self) -> None:
        """Raise InputError if the texts appear to be numbers whose commas may separate decimals or thousands."""
        commas = self.texts.str.contains(",", literal=True)
        if commas.any() and self.texts.str.contains(r"^[-+]?[0-9.,]*[0-9]$").all():
            row = int(commas.arg_true()[0])
            raise InputError(
                f"{self.rows.cell(self.name, row)}: '{self.texts[row]}' has a comma, which may separate decimals or "
                "thousands; set --data.decimal to ',' or '.', or list the column in --data.categorical"
            )


def detect_decimal(frame: "polars.DataFrame") -> Decimal:
    """Return a comma if the numbers of a column can only be read with a decimal comma, otherwise None."""
    import polars as pl

    texts = frame.select(pl.col(pl.String))
    if not texts.width:
        return None
    has_comma = texts.select(pl.all().str.contains(",", literal=True).any()).row(0, named=True)
    for series in texts.select([name for name, has in has_comma.items() if has]):
        cells = series.drop_nulls().str.strip_chars()
        cells = cells.filter(~cells.is_in(list(MISSING)))
        if cells.str.contains(_DECIMAL_COMMA).all() and cells.str.contains(_IS_DECIMAL_COMMA).any():
            return ","
    return None


def parse_numbers(texts: "polars.Series", decimal: Decimal) -> "polars.Series":
    """Return numbers as Float64, null for other texts.

    Args:
        texts: The texts, null for missing values.
        decimal: Decimal separator, a point or a comma; the other one separates thousands. None stands for a point;
            commas then separate thousands only if at least one number has both.
    """
    import polars as pl

    if decimal == ",":
        if texts.str.contains(_DECIMAL_COMMA).all():
            texts = texts.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    elif texts.str.contains("," if decimal else _HAS_BOTH).any() and texts.str.contains(_DECIMAL_POINT).all():
        texts = texts.str.replace_all(",", "", literal=True)
    return texts.cast(pl.Float64, strict=False)


def category_indices(texts: "polars.Series", indices: Mapping[str, int], missing: int) -> Array:
    """Return the index of each text, or `missing` for any other."""
    return np.array([indices.get(text, missing) for text in texts.to_list()], float)
