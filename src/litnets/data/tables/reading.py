"""Reading a table: what each column of a CSV or Parquet file is, and its values."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.batching import smallest_type
from litnets.data.tables.table import Table
from litnets.errors import InputError, did_you_mean, first_duplicate
from litnets.escaping import printable
from litnets.files import open_regular

if TYPE_CHECKING:
    import polars

# What stands for a missing value in a file, beside an empty cell (`?` is that of the UCI repository).
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None")  # and NaN, in any case
# What any Parquet file may unpack to, and a larger one for each of its bytes.
MIN_CELLS, MAX_CELLS_PER_BYTE = 2**26, 16
# Whole numbers with more different values than this are a quantity, not classes.
MAX_WHOLE_CLASSES = 20


class TableFile:
    """A CSV or Parquet file, and what its columns are to be.

    Args:
        path: The file.
        separator: Between two cells of a CSV; None is a comma, or a tab in a `.tsv`.
        targets: The columns to predict.
        task: What the targets are; None to tell by their values.
        categorical: Columns of numbers that are categories.
        ignore: Columns to leave out.
    """

    def __init__(
        self,
        path: Path,
        separator: str | None,
        targets: Sequence[str] = (),
        task: Literal["classification", "regression"] | None = None,
        categorical: Sequence[str] = (),
        ignore: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.separator = ("\t" if path.suffix.lower() == ".tsv" else ",") if separator is None else separator
        if len(self.separator.encode()) != 1:
            raise InputError(f"separator: expected one character such as ';', got '{self.separator}'")
        for name, number in Counter(targets).items():
            if number > 1 or name in ignore:
                raise InputError(f"target: '{name}' is named {'twice' if number > 1 else 'in ignore as well'}")
        self.target_columns, self.task, self.categorical, self.ignore = targets, task, categorical, ignore

    def read(self) -> Table:
        frame = _read_file(self.path, self.separator)
        self._check_columns(frame, [*self.target_columns, *self.categorical, *self.ignore])
        numbers: dict[str, np.ndarray[Any, Any]] = {}
        categories: dict[str, polars.Series] = {}
        for name in frame.columns:
            if name in self.target_columns or name in self.ignore:
                continue
            text, values = self._column(frame[name], as_text=name in self.categorical)
            if values is None:
                categories[name] = text
            else:
                numbers[name] = values
        if not numbers and not categories:
            raise InputError(f"{self.path}: no column is left to predict from")
        texts = [sorted(series.drop_nulls().unique().to_list()) for series in categories.values()]
        codes = [_codes(series, known) for series, known in zip(categories.values(), texts, strict=True)]
        inputs = torch.from_numpy(np.stack([*numbers.values(), *codes], 1).astype(np.float32))
        return Table(inputs, [*numbers, *categories], texts, *self._targets(frame))

    def read_new(self, columns: Sequence[str], texts: Sequence[Sequence[str]]) -> Tensor:
        """Rows to predict as `Table.inputs` has them, `(rows, columns)`; a text that is not among `texts` is missing.

        Args:
            columns: Their columns, first the numbers, then the categories.
            texts: The different texts of each category.
        """
        frame = _read_file(self.path, self.separator)
        self._check_columns(frame, columns)
        numbers = len(columns) - len(texts)
        values = []
        for name in columns[:numbers]:
            text, found = self._cells(frame[name])
            wrong = (found.is_null() & text.is_not_null()).arg_true()
            if len(wrong):
                row = int(wrong[0])
                raise InputError(
                    f"{self.path}: column '{name}', row {row + 1}: '{text[row]}' is not a number, as all were in the "
                    f"training; mend it, or leave the cell empty"
                )
            values.append(self._finite(name, found))
        for name, known in zip(columns[numbers:], texts, strict=True):
            text = self._cells(frame[name])[0]
            new = sorted(set(text.drop_nulls()) - set(known))
            if new:
                shown = ", ".join(f"'{printable(value[:100])}'" for value in new[:5]) + (" ..." if len(new) > 5 else "")
                print(
                    f"{self.path}: column '{printable(name)}': read as missing, not seen in training: {shown}",
                    flush=True,
                )
            values.append(_codes(text, known))
        return torch.from_numpy(np.stack(values, 1).astype(np.float32))

    def _check_columns(self, frame: "polars.DataFrame", names: Sequence[str]) -> None:
        for name in names:
            if name not in frame.columns:
                there = ", ".join(frame.columns[:20])
                hint = "; is it another --data.separator?" if len(frame.columns) == 1 else ""
                raise InputError(
                    f"{self.path}: no column '{name}'{did_you_mean(name, frame.columns)} (there are: {there}){hint}"
                )

    def _cells(self, series: "polars.Series") -> tuple["polars.Series", "polars.Series"]:
        """A column as texts and as float64, with nulls where a value is missing or, of the numbers, is none."""
        import polars as pl

        plain = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
        if not series.dtype.is_numeric() and series.dtype not in plain:
            raise InputError(
                f"{self.path}: column '{series.name}' holds {series.dtype}, neither numbers nor texts; make it a "
                f"number or leave it out (--data.ignore)"
            )
        if series.dtype == pl.Boolean or series.dtype.is_numeric():
            values = series.cast(pl.Float64).fill_nan(None)
            series = series.set(values.is_null(), None)
            there = values.drop_nulls()
            if series.dtype.is_float() and (there.abs() < 2**53).all() and (there == there.floor()).all():
                series = series.cast(pl.Int64)  # whole numbers, which pandas writes as floats where one is missing
            return series.cast(pl.String), values
        text = series.cast(pl.String).str.strip_chars()
        text = text.set(text.is_in(list(MISSING)).fill_null(True), None)
        values = text.cast(pl.Float64, strict=False)
        return text.set(values.is_nan().fill_null(False), None), values.fill_nan(None)

    def _finite(self, name: str, values: "polars.Series") -> "np.ndarray[Any, Any]":
        """Numbers with NaN where one is missing."""
        array = values.to_numpy().astype(float)
        # Beyond float32, in which the table is kept, a number is infinite as well.
        beyond = np.abs(array) > np.finfo(np.float32).max
        if beyond.any():
            row = int(beyond.argmax())
            what = "infinite" if np.isinf(array[row]) else f"{array[row]:g}, too large for float32"
            raise InputError(f"{self.path}: column '{name}', row {row + 1}: the value is {what}; mend it or empty it")
        return array

    def _column(
        self, series: "polars.Series", as_text: bool = False
    ) -> tuple["polars.Series", "np.ndarray[Any, Any] | None"]:
        """A column as texts with nulls, and as float64 with NaN if all of it is numbers."""
        import polars as pl

        text, values = self._cells(series)
        if series.dtype == pl.String and not as_text:
            self._check_points(text)
        present, readable = len(text) - text.null_count(), len(values) - values.null_count()
        if as_text or (series.dtype != pl.Boolean and readable < present) or present == 0 == readable:
            if not as_text and 0.9 * present <= readable < present:
                row = int((values.is_null() & text.is_not_null()).arg_true()[0])
                raise InputError(
                    f"{self.path}: column '{series.name}', row {row + 1}: '{text[row]}' is not a number, as nearly all "
                    f"others are; mend it, or name the column in --data.categorical"
                )
            return text, None
        return text, self._finite(series.name, values)

    def _check_points(self, text: "polars.Series") -> None:
        """Raises InputError if the texts are numbers with commas in them, which would become categories."""
        commas = text.str.contains(",", literal=True)
        if commas.any() and text.str.contains(r"^[-+]?[0-9.,]*[0-9]$").all():
            row = int(commas.arg_true()[0])
            raise InputError(
                f"{self.path}: column '{text.name}', row {row + 1}: '{text[row]}' has a comma in it; write numbers "
                "with a decimal point and nothing between thousands, or name the column in --data.categorical"
            )

    def _targets(self, frame: "polars.DataFrame") -> tuple[Tensor, list[str] | None, list[str] | None]:
        """Targets, names of the classes, names of the numbers."""
        columns = {name: self._column(frame[name], as_text=name in self.categorical) for name in self._present(frame)}
        if len(columns) == 1:
            ((name, (text, values)),) = columns.items()
            whole = values is not None and bool((values == values.round()).all())
            few = values is not None and len(np.unique(values)) <= MAX_WHOLE_CLASSES
            if self.task == "classification" or (self.task is None and (values is None or (whole and few))):
                if values is None:
                    known, numbers = np.unique(text.to_numpy(), return_inverse=True)
                    names = [str(value) for value in known]
                else:
                    known, numbers = np.unique(values, return_inverse=True)
                    names = [str(int(value)) if whole else str(value) for value in known]
                return torch.from_numpy(numbers).to(smallest_type(len(names))), names, None
        flags = {name: _flags(text, values) for name, (text, values) in columns.items()}
        if self.task == "classification" or (self.task is None and all(f is not None for f in flags.values())):
            for name, flag in flags.items():
                if flag is None:
                    raise InputError(f"{self.path}: target '{name}' is no flag: 0 and 1 or true and false are")
            return torch.from_numpy(np.stack([f for f in flags.values() if f is not None], 1)), list(flags), None
        for name, (text, values) in columns.items():
            if values is None:
                raise InputError(
                    f"{self.path}: target '{name}' holds texts ('{text[0]}' in row 1); numbers are expected"
                )
        stacked = np.stack([values for _, values in columns.values() if values is not None], 1)
        return torch.from_numpy(stacked.astype(np.float32)), None, list(columns)

    def _present(self, frame: "polars.DataFrame") -> Sequence[str]:
        """The target columns, none of which may lack a value."""
        for name in self.target_columns:
            missing = self._column(frame[name], as_text=True)[0].is_null().arg_true()
            if len(missing):
                more = f" (and in {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise InputError(
                    f"{self.path}: target '{name}' has no value in row {missing[0] + 1}{more}; take such rows out, or "
                    "fill them"
                )
        return self.target_columns


def _read_file(path: Path, separator: str) -> "polars.DataFrame":
    try:
        import polars as pl
    except ImportError as error:
        raise InputError("tables in files need polars: pip install -e '.[tables]'") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file; give a CSV or a Parquet file")
    try:
        with open_regular(path) as file:
            content = file.read()
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path, content)
        else:
            text = content.decode("utf-8").removeprefix("\ufeff")
            names = _header(path, text, separator)
            if len(names) > 1 and ("\n\n" in text or "\n\r\n" in text):
                content = _without_empty_lines(text, separator)
            # All as texts: what a column is, is decided here and told in the docstring.
            try:
                frame = pl.read_csv(content, separator=separator, infer_schema=False)
            except pl.exceptions.ComputeError:
                _check_cells(path, text, separator)
                raise
            if frame[:, -1].has_nulls():
                _check_cells(path, text, separator)  # rows that are short have been filled up
            frame.columns = names
    except InputError:
        raise
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise InputError(f"{path}: line {line} is not UTF-8 (byte {byte:#x}); save the file as UTF-8") from error
    except pl.exceptions.NoDataError as error:
        raise InputError(f"{path}: the file is empty") from error
    except OSError as error:
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise InputError(f"{path}: cannot be read: {error.strerror or error}{near}") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, csv.Error, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not len(frame):
        raise InputError(f"{path}: the file has a header, but no row")
    return frame


def _read_parquet(path: Path, content: bytes) -> "polars.DataFrame":
    """Read a Parquet file that does not unpack to far more than its size: a kilobyte may hold gigabytes.

    Raises:
        InputError: It would.
    """
    import polars as pl

    columns = len(pl.read_parquet_schema(io.BytesIO(content)))
    rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
    limit = max(MIN_CELLS, MAX_CELLS_PER_BYTE * len(content))
    if rows * columns > limit:
        raise InputError(f"{path}: {rows:,} rows of {columns} columns in {len(content):,} bytes; expected fewer cells")
    frame = pl.read_parquet(content)  # equal texts lie in memory once
    texts = frame.select(pl.col(pl.String).str.len_bytes().sum().cast(pl.UInt64))
    for name, size in texts.row(0, named=True).items() if texts.width else ():
        if size > 16 * limit:
            raise InputError(f"{path}: column '{name}' has {size:,} bytes of text in a file of {len(content):,} bytes")
    return frame


def _header(path: Path, text: str, separator: str) -> list[str]:
    """Names of the columns, without the spaces around them; polars would rename those that are there twice."""
    names = [name.strip() for name in next(_rows(text, separator), [])]
    if twice := first_duplicate(names):
        raise InputError(f"{path}: two columns are called '{twice}'; give each a name of its own")
    return names


def _without_empty_lines(text: str, separator: str) -> bytes:
    """The table without the lines that hold no row, which polars takes for rows of missing values."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(filter(None, _rows(text, separator)))
    return out.getvalue().encode()


def _check_cells(path: Path, text: str, separator: str) -> None:
    """Raises InputError at the first row that has not as many cells as the header, and for a quote without an end."""
    reader = _rows(text, separator, strict=True)
    try:
        header: list[str] = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: expected {len(header)} cells as in the header, got {len(row)}; a "
                    f"text with '{separator}' in it stands in double quotes"
                )
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no CSV: {error}") from error


def _rows(text: str, separator: str, strict: bool = False) -> Any:
    """A csv.reader of the table."""
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the 128 kB that Python allows
    return csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator, strict=strict)


def _codes(series: "polars.Series", texts: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Index of each value among `texts`, their number where it is missing."""
    place = {text: i for i, text in enumerate(texts)}
    return np.array([place.get(text, len(texts)) for text in series.to_list()], float)


def _flags(text: "polars.Series", values: "np.ndarray[Any, Any] | None") -> "np.ndarray[Any, Any] | None":
    """0 and 1 as uint8, if the column is flags."""
    if values is not None:
        return values.astype(np.uint8) if np.isin(values, (0, 1)).all() else None
    lower = np.array([str(value).lower() for value in text.to_list()])
    return (lower == "true").astype(np.uint8) if np.isin(lower, ("true", "false")).all() else None
