"""Read time series from CSV files: numeric channels and increasing times."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from litnets.data.core.csv_files import INDEX_NAMES, decode_utf8, missing_column, open_csv, read_bytes
from litnets.errors import InputError, first_duplicate
from litnets.safety.escaping import printable


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


# A month, such as 1970-01 or 1970M01, or a quarter, such as 1970Q1 or 1970-Q1.
_PERIOD = re.compile(r"(\d{4})[-/ ]?(?:M?(0[1-9]|1[0-2])|Q([1-4]))", re.ASCII | re.IGNORECASE)


def read_series(
    path: Path, time_column: str | int | None, channels: Sequence[str] | None = None, has_header: bool = True
) -> Series:
    """Read a time series from a CSV file.

    Args:
        path: The file, UTF-8 and comma-separated.
        time_column: Name or index of the time column, whose values must increase; None if there is none. If the first
            column holds row numbers without a name, a column of dates takes precedence over an index.
        channels: Columns to read; None for all except the time column and row numbers without a name.
        has_header: Whether the first line names the columns; otherwise they are `column_1`, `column_2` ...

    Raises:
        InputError: The file cannot be read, a column does not exist, a value is not a finite number, or the times do
            not increase. The message names the line.
    """
    header, rows, lines, digest = _read_csv(path, has_header)
    hint = "; set --data.header false if the first line is data" if has_header and _names_look_like_data(header) else ""
    has_row_numbers = _are_row_numbers([row[0] for row in rows])
    time: int | None
    if isinstance(time_column, str):
        time = _column_index(path, header, time_column, hint)
    elif time_column is not None and has_row_numbers:
        time = _find_dates(path, header, rows, is_required=channels is None) or time_column
    else:
        time = time_column
    times: list[str] = []
    if time is not None:
        times = [row[time] for row in rows]
        _check_times(path, header[time], times, lines)
    if channels is None:
        skipped = {time, 0} if has_row_numbers and header[0] in INDEX_NAMES else {time}
        names = [name for i, name in enumerate(header) if i not in skipped]
    else:
        names = list(channels)
    _check_channels(path, names, header)
    columns = [_column_index(path, header, name, hint) for name in names]
    values = _to_numbers(path, names, [[row[i] for i in columns] for row in rows], lines)
    return Series(values, names, times, digest)


def _check_channels(path: Path, names: Sequence[str], header: Sequence[str]) -> None:
    """Raise InputError if there is no channel, or if one is listed twice."""
    if not names:
        raise InputError(
            f"{path}: no channels: expected at least one column besides the time (columns: {', '.join(header)})"
        )
    if duplicate := first_duplicate(names):
        raise InputError(f"channels: '{duplicate}' is listed twice; remove one")


def _to_numbers(path: Path, names: Sequence[str], cells: list[list[str]], lines: Sequence[int]) -> NDArray[np.float64]:
    """Return the cells of the channels as numbers, `(steps, channels)`.

    Raises:
        InputError: A cell is not a finite float32 number.
    """
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([[_to_float(cell) for cell in row] for row in cells])
    # The series is stored as float32, where larger numbers would become infinite.
    invalid = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(invalid):
        row, column = invalid[0]
        is_time = _are_dates([row[column] for row in cells])
        advice = f"set --data.time_column {names[column]}" if is_time else "fill them or remove the channel"
        raise InputError(
            f"{path}, line {lines[row]}, column '{names[column]}': expected a number, got '{cells[row][column]}' "
            f"({len(invalid)} such values in total); {advice}"
        )
    return values


def _names_look_like_data(names: Sequence[str]) -> bool:
    """Return whether all column names are numbers, except when they count the columns from 0 or 1."""
    numbers = [_to_float(name) for name in names]
    return bool(np.isfinite(numbers).all()) and numbers not in [list(range(s, s + len(numbers))) for s in (0, 1)]


def report_names_like_data(path: Path, names: Sequence[str]) -> None:
    """Print a line if the first line of a file, which was read as column names, looks like data."""
    if _names_look_like_data(names):
        line = f"{path}: the first line was read as column names but looks like data; see --data.header false"
        rank_zero_only(print)(printable(line), flush=True)


def _are_row_numbers(cells: Sequence[str]) -> bool:
    """Return whether a column numbers the rows, from 0 or 1."""
    return cells[0] in ("0", "1") and all(cell == str(i) for i, cell in enumerate(cells, int(cells[0])))


def _find_dates(path: Path, header: list[str], rows: list[list[str]], is_required: bool) -> int | None:
    """Return the index of the column of dates in a file whose first column numbers the rows; None if there is none.

    Raises:
        InputError: The dates are required, but the row numbers have a name, so that they may be the time or a channel.
    """
    for i, name in enumerate(header):
        if _are_dates([row[i] for row in rows]):
            if header[0] in INDEX_NAMES:
                return i
            if is_required:
                raise InputError(
                    f"{path}: column '{header[0]}' numbers the rows, and column '{name}' holds the times; set "
                    f"--data.time_column {name}, and --data.channels to the columns to forecast"
                )
    return None


def _read_csv(path: Path, has_header: bool) -> tuple[list[str], list[list[str]], list[int], int]:
    """Return the header, the rows, the line in which each row ends, and the digest of the file."""
    content = read_bytes(path)
    header, numbered_rows = open_csv(path, decode_utf8(path, content), has_header=has_header)
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


def _column_index(path: Path, header: list[str], name: str, hint: str) -> int:
    if name not in header:
        raise InputError(f"{missing_column(path, name, header)}{hint}")
    return header.index(name)


def _to_float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _check_times(path: Path, column: str, cells: list[str], lines: list[int]) -> None:
    """Raise InputError for a cell that is not a time, or not later than the cell before it."""
    times = _parse_times(cells)
    if times is None:
        wrong = max(_count_parsed(cells, parse) for parse in _TIME_PARSERS)
        raise InputError(
            f"{path}, line {lines[wrong]}, column '{column}': expected a time (a number, a month such as 2016-07, a "
            f"quarter such as 2016Q3, or ISO 8601 such as 2016-07-01 13:00:00), got '{cells[wrong]}'; set "
            "--data.time_column to the time column"
        )
    for (before, after), line, cell in zip(pairwise(times), lines[1:], cells[1:], strict=True):
        if not _is_before(before, after):
            raise InputError(
                f"{path}, line {line}, column '{column}': the time '{cell}' is not later than the one before; sort the "
                "rows and remove duplicate times, or set --data.time_column to the time column"
            )


def check_later(path: Path, earlier: Series, later: Series) -> None:
    """Raise InputError unless a series begins after the end of another one.

    Args:
        path: The file of the later series.
        earlier: The series of the split before.
        later: The later series.
    """
    times = _parse_times([earlier.times[-1], later.times[0]])
    if times is None or not _is_before(*times):
        raise InputError(
            f"{path}: its first time '{later.times[0]}' is not later than '{earlier.times[-1]}', the last one of the "
            "split before; the splits must follow each other in time"
        )


def _parse_times(cells: Sequence[str]) -> list[Any] | None:
    """Return the times in a column as comparable values; None if a cell is not a time or the formats are mixed."""
    for parse in _TIME_PARSERS:
        try:
            return [parse(cell.strip()) for cell in cells]
        except ValueError:
            continue
    return None


def _parse_period(text: str) -> tuple[int, int]:
    """Return the year of a month or quarter, and its number in the year."""
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2] or match[3])


def _are_dates(cells: Sequence[str]) -> bool:
    """Return whether the cells of a column are times other than numbers."""
    times = _parse_times(cells)
    return times is not None and not isinstance(times[0], float)


_TIME_PARSERS: tuple[Callable[[str], Any], ...] = (float, datetime.fromisoformat, _parse_period)


def _count_parsed(cells: Sequence[str], parse: Callable[[str], Any]) -> int:
    """Return the number of cells before the first one that cannot be parsed."""
    for i, cell in enumerate(cells):
        try:
            parse(cell.strip())
        except ValueError:
            return i
    return len(cells)


def _is_before(first: Any, second: Any) -> bool:
    try:
        return bool(first < second)
    except TypeError:  # only one of the two has a time zone
        return False
