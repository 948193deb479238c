"""Read time series from CSV files: numeric channels and increasing times."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from litnets.data.core.csv_files import decode_utf8, missing_column, open_csv, read_bytes
from litnets.errors import InputError, first_duplicate


class Series(NamedTuple):
    """The content of a CSV file.

    Args:
        values: Values of the series, `(steps, channels)`.
        channels: Names of the channels.
        times: Cells of the time column; empty if there is none.
        digest: Digest of the file.
    """

    values: NDArray[np.float64]
    channels: list[str]
    times: list[str]
    digest: int


def read_series(path: Path, time_column: str | int | None, channels: Sequence[str] | None = None) -> Series:
    """Read a time series from a CSV file with a header.

    Args:
        path: The file, UTF-8 and comma-separated.
        time_column: Name or index of the time column, which must increase; None if there is no such column.
        channels: Columns to read; None for all except the time column.

    Raises:
        InputError: The file cannot be read, a column does not exist, a value is not a finite number, or the times do
            not increase. The message names the line.
    """
    header, rows, lines, digest = _read_csv(path)
    times: list[str] = []
    if time_column is not None:
        time = time_column if isinstance(time_column, int) else _column_index(path, header, time_column)
        times = [row[time] for row in rows]
        _check_times(path, header[time], times, lines)
        available = [name for i, name in enumerate(header) if i != time]
    else:
        available = header
    names = list(available if channels is None else channels)
    if not names:
        raise InputError(
            f"{path}: no channels: expected at least one column besides the time (columns: {', '.join(header)})"
        )
    if duplicate := first_duplicate(names):
        raise InputError(f"channels: '{duplicate}' is listed twice; remove one")
    columns = [_column_index(path, header, name) for name in names]
    cells = [[row[i] for i in columns] for row in rows]
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([[_to_float(cell) for cell in row] for row in cells])
    # The series is stored as float32, where larger numbers would become infinite.
    invalid = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(invalid):
        row, column = invalid[0]
        raise InputError(
            f"{path}, line {lines[row]}, column '{names[column]}': expected a number, got '{cells[row][column]}' "
            f"({len(invalid)} such values in total); fill them or remove the channel"
        )
    return Series(values, names, times, digest)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]], list[int], int]:
    """Return the header, the rows, the line in which each row ends, and the digest of the file."""
    content = read_bytes(path)
    header, numbered_rows = open_csv(path, decode_utf8(path, content))
    if len(header) == 1:
        for separator, name in ((";", "';'"), ("\t", "tabs")):
            if separator in header[0]:
                raise InputError(f"{path}: expected commas between the columns, got {name}; save the file with commas")
    rows, lines = [], []
    for line, cells in numbered_rows:
        rows.append(cells)
        lines.append(line)
    if not rows:
        raise InputError(f"{path}: expected a header and at least one row, got only a header")
    return header, rows, lines, xxh3_64_intdigest(content)


def _column_index(path: Path, header: list[str], name: str) -> int:
    if name not in header:
        raise InputError(missing_column(path, name, header))
    return header.index(name)


def _to_float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _check_times(path: Path, column: str, cells: list[str], lines: list[int]) -> None:
    """Raise InputError for a cell that is not a time, or not later than the cell before it."""
    times: list[Any] = []
    for parse in (float, datetime.fromisoformat):
        try:
            times = [parse(cell.strip()) for cell in cells]
            break
        except ValueError:
            continue
    if not times:
        for cell, line in zip(cells, lines, strict=True):
            try:
                datetime.fromisoformat(cell.strip())
            except ValueError:
                raise InputError(
                    f"{path}, line {line}, column '{column}': expected a time (a number or ISO 8601 such as "
                    f"2016-07-01 13:00:00), got '{cell}'; set --data.time_column to the time column"
                ) from None
    for (before, after), line, cell in zip(pairwise(times), lines[1:], cells[1:], strict=True):
        if not _is_before(before, after):
            raise InputError(
                f"{path}, line {line}, column '{column}': the time '{cell}' is not later than the one before; sort the "
                "rows and remove duplicate times, or set --data.time_column to the time column"
            )


def _is_before(first: Any, second: Any) -> bool:
    try:
        return bool(first < second)
    except TypeError:  # only one of the two has a time zone
        return False
