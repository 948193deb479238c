"""Read a CSV or Parquet table: infer what each column holds, and convert its values."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.batching import smallest_type
from litnets.data.core.csv_files import decode_utf8, iter_csv, missing_column, open_csv, read_bytes
from litnets.data.core.inputs import as_array, is_table, table_columns
from litnets.data.tables.table import Table
from litnets.errors import InputError
from litnets.safety.escaping import printable

if TYPE_CHECKING:
    import polars

# Cells that stand for a missing value, besides NaN in any case (the UCI repository uses `?`).
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None")
# A Parquet file may unpack to MIN_CELLS cells, or to MAX_CELLS_PER_BYTE cells per byte if that is more.
MIN_CELLS, MAX_CELLS_PER_BYTE = 2**26, 16
# An integer target with more distinct values than this is a quantity, not a class.
MAX_INTEGER_CLASSES = 20

Array = NDArray[Any]
Targets = tuple[Tensor, list[str] | None, list[str] | None]  # targets, class names, target names; see `Table`


class TableFile:
    """A CSV or Parquet file, with the role of its columns.

    Args:
        path: The file.
        separator: Character between two cells of a CSV file; None for a comma, or a tab in a `.tsv` file.
        targets: Columns to predict.
        task: What the targets are; None to infer it from their values.
        categorical: Numeric columns to treat as categories.
        ignore: Columns to leave out.

    Raises:
        InputError: The separator is not one character, or a target is listed twice or ignored.
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
        for name, count in Counter(targets).items():
            if count > 1:
                raise InputError(f"target: '{name}' is listed twice; remove one")
            if name in ignore:
                raise InputError(f"target: '{name}' is also listed in ignore; remove it from one of them")
        self.target_columns, self.task, self.categorical, self.ignore = targets, task, categorical, ignore

    def read(self) -> Table:
        """Return the table.

        Raises:
            InputError: The file cannot be read, a column does not exist, or a value is invalid. The message names the
                column, and the row, counted from 1 without the header.
        """
        frame = _read_file(self.path, self.separator)
        self._check_columns(frame, [*self.target_columns, *self.categorical, *self.ignore])
        numeric: dict[str, Array] = {}
        categorical: dict[str, polars.Series] = {}
        for name in frame.columns:
            if name in self.target_columns or name in self.ignore:
                continue
            texts, values = self._infer_column(frame[name], as_text=name in self.categorical)
            if values is None:
                categorical[name] = texts
            else:
                numeric[name] = values
        if not numeric and not categorical:
            raise InputError(f"{self.path}: no column is left to predict from; remove some from --data.ignore")
        categories = [sorted(series.drop_nulls().unique().to_list()) for series in categorical.values()]
        codes = [_encode(series, known) for series, known in zip(categorical.values(), categories, strict=True)]
        inputs = torch.from_numpy(np.stack([*numeric.values(), *codes], 1).astype(np.float32))
        return Table(inputs, [*numeric, *categorical], categories, *self._read_targets(frame))

    def read_new(
        self, columns: Sequence[str], categories: Sequence[Sequence[str]], frame: "polars.DataFrame | None" = None
    ) -> Tensor:
        """Return rows to predict, `(rows, columns)`, encoded like `Table.inputs`.

        A category that is not in `categories` is read as missing, which is reported in one line.

        Args:
            columns: Columns to read, first the numeric ones, then the categorical ones.
            categories: Categories of each categorical column.
            frame: The rows, if they are not read from the file.

        Raises:
            InputError: The file cannot be read, a column does not exist, or a numeric column holds another value.
        """
        frame = _read_file(self.path, self.separator) if frame is None else frame
        self._check_columns(frame, columns)
        num_numeric = len(columns) - len(categories)
        arrays = []
        for name in columns[:num_numeric]:
            texts, values = self._parse(frame[name])
            invalid = (values.is_null() & texts.is_not_null()).arg_true()
            if len(invalid):
                row = int(invalid[0])
                raise InputError(
                    f"{self.path}: column '{name}', row {row + 1}: expected a number as in training, got "
                    f"'{texts[row]}'; fix it, or leave the cell empty"
                )
            arrays.append(self._to_array(name, values))
        for name, known in zip(columns[num_numeric:], categories, strict=True):
            texts, _ = self._parse(frame[name])
            if unseen := sorted(set(texts.drop_nulls()) - set(known)):
                shown = ", ".join(f"'{printable(text[:100])}'" for text in unseen[:5])
                more = " ..." if len(unseen) > 5 else ""
                print(
                    f"{self.path}: column '{printable(name)}': unseen in training, read as missing: {shown}{more}",
                    flush=True,
                )
            arrays.append(_encode(texts, known))
        return torch.from_numpy(np.stack(arrays, 1).astype(np.float32))

    def _check_columns(self, frame: "polars.DataFrame", names: Sequence[str]) -> None:
        for name in names:
            if name not in frame.columns:
                hint = "; set --data.separator if it is not the right one" if len(frame.columns) == 1 else ""
                raise InputError(f"{missing_column(self.path, name, frame.columns)}{hint}")

    def _infer_column(self, series: "polars.Series", as_text: bool = False) -> tuple["polars.Series", Array | None]:
        """Return a column as texts with nulls, and as float64 with NaN if all of its values are numbers."""
        import polars as pl

        texts, values = self._parse(series)
        if as_text:
            return texts, None
        if series.dtype == pl.String:
            self._check_decimal_commas(texts)
        num_present, num_numbers = len(texts) - texts.null_count(), len(values) - values.null_count()
        is_text = (series.dtype != pl.Boolean and num_numbers < num_present) or num_present == 0 == num_numbers
        if not is_text:
            return texts, self._to_array(series.name, values)
        if 0.9 * num_present <= num_numbers < num_present:
            row = int((values.is_null() & texts.is_not_null()).arg_true()[0])
            raise InputError(
                f"{self.path}: column '{series.name}', row {row + 1}: expected a number as in most rows, got "
                f"'{texts[row]}'; fix it, or list the column in --data.categorical"
            )
        return texts, None

    def _parse(self, series: "polars.Series") -> tuple["polars.Series", "polars.Series"]:
        """Return a column as texts and as float64. Missing values are null, as are texts that are not numbers."""
        import polars as pl

        text_types = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
        if not series.dtype.is_numeric() and series.dtype not in text_types:
            raise InputError(
                f"{self.path}: column '{series.name}': expected numbers or texts, got {series.dtype}; convert it to "
                "numbers, or list it in --data.ignore"
            )
        if series.dtype == pl.Boolean or series.dtype.is_numeric():
            values = series.cast(pl.Float64).fill_nan(None)
            series = series.set(values.is_null(), None)
            present = values.drop_nulls()
            if series.dtype.is_float() and (present.abs() < 2**53).all() and (present == present.floor()).all():
                series = series.cast(pl.Int64)  # pandas writes integers as floats if one is missing
            return series.cast(pl.String), values
        texts = series.cast(pl.String).str.strip_chars()
        texts = texts.set(texts.is_in(list(MISSING)).fill_null(True), None)
        values = texts.cast(pl.Float64, strict=False)
        return texts.set(values.is_nan().fill_null(False), None), values.fill_nan(None)

    def _to_array(self, name: str, values: "polars.Series") -> Array:
        """Return numbers as an array, NaN where one is missing. Raise InputError for one that float32 cannot hold."""
        array = values.to_numpy().astype(float)
        too_large = np.abs(array) > np.finfo(np.float32).max
        if too_large.any():
            row = int(too_large.argmax())
            value = "infinity" if np.isinf(array[row]) else f"{array[row]:g}, which is too large for float32"
            raise InputError(
                f"{self.path}: column '{name}', row {row + 1}: expected a finite number, got {value}; fix it, or leave "
                "the cell empty"
            )
        return array

    def _check_decimal_commas(self, texts: "polars.Series") -> None:
        """Raise InputError if the texts are numbers with commas, which would be read as categories."""
        commas = texts.str.contains(",", literal=True)
        if commas.any() and texts.str.contains(r"^[-+]?[0-9.,]*[0-9]$").all():
            row = int(commas.arg_true()[0])
            raise InputError(
                f"{self.path}: column '{texts.name}', row {row + 1}: expected a number without commas, got "
                f"'{texts[row]}'; use decimal points and no thousands separators, or list the column in "
                "--data.categorical"
            )

    def _read_targets(self, frame: "polars.DataFrame") -> Targets:
        """Return the targets as classes, multi-label targets or numbers, by `task` or inferred from their values."""
        self._check_targets_present(frame)
        columns = {
            name: self._infer_column(frame[name], as_text=name in self.categorical) for name in self.target_columns
        }
        if len(columns) == 1:
            ((texts, values),) = columns.values()
            if self._holds_classes(values):
                return _encode_classes(texts, values)
        labels = {name: _parse_binary(texts, values) for name, (texts, values) in columns.items()}
        all_binary = all(column is not None for column in labels.values())
        if self.task == "classification" or (self.task is None and all_binary):
            return self._stack_labels(labels)
        return self._stack_numbers(columns)

    def _check_targets_present(self, frame: "polars.DataFrame") -> None:
        """Raise InputError if a target column lacks a value."""
        for name in self.target_columns:
            missing = self._infer_column(frame[name], as_text=True)[0].is_null().arg_true()
            if len(missing):
                more = f" (and in {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise InputError(
                    f"{self.path}: target '{name}' has no value in row {missing[0] + 1}{more}; fill it, or remove the "
                    "row"
                )

    def _holds_classes(self, values: Array | None) -> bool:
        """Return whether a single target is a class: by `task`, or texts and integers of few distinct values."""
        if self.task is not None:
            return self.task == "classification"
        return values is None or (_are_integers(values) and len(np.unique(values)) <= MAX_INTEGER_CLASSES)

    def _stack_labels(self, labels: dict[str, Array | None]) -> Targets:
        """Return multi-label targets, `(rows, classes)`."""
        stacked = []
        for name, column in labels.items():
            if column is None:
                raise InputError(f"{self.path}: target '{name}': expected only 0 and 1, or only true and false")
            stacked.append(column)
        return torch.from_numpy(np.stack(stacked, 1)), list(labels), None

    def _stack_numbers(self, columns: dict[str, tuple["polars.Series", Array | None]]) -> Targets:
        """Return numeric targets, `(rows, targets)`."""
        stacked = []
        for name, (texts, values) in columns.items():
            if values is None:
                raise InputError(f"{self.path}: target '{name}', row 1: expected a number, got '{texts[0]}'")
            stacked.append(values)
        return torch.from_numpy(np.stack(stacked, 1).astype(np.float32)), None, list(columns)


def encode_inputs(inputs: Any, columns: Sequence[str], categories: Sequence[Sequence[str]]) -> Tensor:
    """Return rows from memory, `(rows, columns)`, encoded like `Table.inputs`; see `TableFile.read_new`.

    Args:
        inputs: A DataFrame of pandas or polars, a row as a dict, a list of such rows, or an array of numeric columns.
        columns: Columns to read, first the numeric ones, then the categorical ones.
        categories: Categories of each categorical column.

    Raises:
        InputError: There is no row, or a column is missing or holds other values.
    """
    rows = isinstance(inputs, (list, tuple)) and all(isinstance(row, Mapping) for row in inputs)
    if is_table(inputs) or isinstance(inputs, Mapping) or (rows and inputs):
        frame = _to_frame(table_columns(inputs))
        if not len(frame):
            raise InputError("the table: expected at least one row, got none")
        return TableFile(Path("the table"), None).read_new(columns, categories, frame)
    array = as_array(inputs, "a DataFrame, rows as dicts, or an array of numbers")
    if categories:
        raise InputError(
            f"the column '{columns[-len(categories)]}' is categorical, so an array of numbers has no place for it; "
            "give a DataFrame, or rows as dicts"
        )
    if array.ndim not in (1, 2) or array.shape[-1] != len(columns):
        raise InputError(
            f"expected rows of shape (N, {len(columns)}) with the columns {', '.join(columns)}, got an array of shape "
            f"{array.shape}"
        )
    values = np.atleast_2d(array).astype(np.float32)
    if np.isinf(values).any():
        raise InputError("expected finite numbers, or NaN for a missing value, got an infinite or too large one")
    return torch.from_numpy(values)


def _to_frame(columns: Mapping[str, Sequence[Any]]) -> "polars.DataFrame":
    """Return a table whose columns are numbers, true and false, or texts. Dates and mixed columns become texts."""
    import polars as pl

    series = []
    for name, values in columns.items():
        present = [value for value in values if value is not None]
        if all(isinstance(value, (bool, np.bool_)) for value in present):
            series.append(pl.Series(name, values, dtype=pl.Boolean))
        elif all(isinstance(value, (int, np.integer)) for value in present):
            series.append(pl.Series(name, values))
        elif all(isinstance(value, (int, float, np.number)) for value in present):
            series.append(pl.Series(name, values, dtype=pl.Float64, strict=False))
        else:
            texts = [None if value is None else str(value) for value in values]
            series.append(pl.Series(name, texts, dtype=pl.String))
    return pl.DataFrame(series)


def _read_file(path: Path, separator: str) -> "polars.DataFrame":
    try:
        import polars as pl
    except ImportError as error:
        raise InputError("reading tables needs the package polars; run: pip install -e '.[tables]'") from error
    content = read_bytes(path)
    try:
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path, content)
        else:
            frame = _read_csv(path, content, separator)
    except InputError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not len(frame):
        raise InputError(f"{path}: expected at least one row, got only a header")
    return frame


def _read_csv(path: Path, content: bytes, separator: str) -> "polars.DataFrame":
    """Return all columns of a CSV file as texts. Polars parses it; the csv module finds what is wrong with it."""
    import polars as pl

    text = decode_utf8(path, content)
    header, _ = open_csv(path, text, separator, strict=False)
    if len(header) > 1 and ("\n\n" in text or "\n\r\n" in text):
        content = _drop_empty_lines(path, text, separator)
    try:
        frame = pl.read_csv(content, separator=separator, infer_schema=False)
    except pl.exceptions.ComputeError:
        _check_rows(path, text, separator)
        raise
    if frame[:, -1].has_nulls():  # polars fills rows that are too short
        _check_rows(path, text, separator)
    frame.columns = header  # polars would rename duplicates
    return frame


def _drop_empty_lines(path: Path, text: str, separator: str) -> bytes:
    """Return the table without empty lines, which polars would read as rows of missing values."""
    out = io.StringIO(newline="")
    rows = (cells for _, cells in iter_csv(path, text, separator, strict=False))
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _check_rows(path: Path, text: str, separator: str) -> None:
    """Raise InputError for invalid CSV, or a row with more or fewer cells than the header."""
    _, rows = open_csv(path, text, separator)
    for _ in rows:
        pass


def _read_parquet(path: Path, content: bytes) -> "polars.DataFrame":
    """Read a Parquet file, unless it unpacks to far more than its size: a kilobyte may hold gigabytes.

    Raises:
        InputError: It would.
    """
    import polars as pl

    columns = len(pl.read_parquet_schema(io.BytesIO(content)))
    rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
    limit = max(MIN_CELLS, MAX_CELLS_PER_BYTE * len(content))
    if rows * columns > limit:
        raise InputError(f"{path}: {rows:,} rows of {columns} columns in {len(content):,} bytes; expected fewer cells")
    frame = pl.read_parquet(content)  # stores equal texts once
    sizes = frame.select(pl.col(pl.String).str.len_bytes().sum().cast(pl.UInt64))
    for name, size in sizes.row(0, named=True).items() if sizes.width else ():
        if size > 16 * limit:
            raise InputError(f"{path}: column '{name}' has {size:,} bytes of text in a file of {len(content):,} bytes")
    return frame


def _encode(series: "polars.Series", categories: Sequence[str]) -> Array:
    """Return the index of each value in `categories`, or their number for any other value."""
    indices = {text: i for i, text in enumerate(categories)}
    return np.array([indices.get(text, len(categories)) for text in series.to_list()], float)


def _encode_classes(texts: "polars.Series", values: Array | None) -> Targets:
    """Return class indices, `(rows,)`, and class names in the order of texts or numbers."""
    if values is None:
        classes, indices = np.unique(texts.to_numpy(), return_inverse=True)
        names = [str(text) for text in classes]
    else:
        classes, indices = np.unique(values, return_inverse=True)
        names = [str(int(value)) if _are_integers(values) else str(value) for value in classes]
    return torch.from_numpy(indices).to(smallest_type(len(names))), names, None


def _are_integers(values: Array) -> bool:
    return bool((values == values.round()).all())


def _parse_binary(texts: "polars.Series", values: Array | None) -> Array | None:
    """Return a column of 0 and 1, or of true and false, as uint8; None if it holds other values."""
    if values is not None:
        return values.astype(np.uint8) if np.isin(values, (0, 1)).all() else None
    lower = np.array([str(value).lower() for value in texts.to_list()])
    return (lower == "true").astype(np.uint8) if np.isin(lower, ("true", "false")).all() else None
