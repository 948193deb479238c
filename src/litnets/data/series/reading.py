"""Series read from CSV files: channels as numbers, in the order of time."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from litnets.errors import InputError, did_you_mean, first_duplicate
from litnets.files import open_regular


class Series(NamedTuple):
    """A series as it is in its file.

    Args:
        values: `(time, channels)`.
        channels: Names of the channels.
        times: The cells of the time column; empty if there is none.
        digest: Digest of the file.
    """

    values: NDArray[np.float64]
    channels: list[str]
    times: list[str]
    digest: int


def read_series(path: Path, time_column: str | int | None, channels: Sequence[str] | None = None) -> Series:
    """Read a CSV file with a header.

    Args:
        path: The file: UTF-8, commas.
        time_column: Name or number of the column of the time, which is held to increase; None for no such column.
        channels: Columns to read; None for all but the time.

    Raises:
        InputError: A file that cannot be read, a column that is not there, a value that is no finite number, a time
            that does not increase; with the line of the file.
    """
    header, rows, lines, digest = _read_csv(path)
    times: list[str] = []
    if time_column is not None:
        time = time_column if isinstance(time_column, int) else _column(path, header, time_column)
        times = [row[time] for row in rows]
        _check_times(path, header[time], times, lines)
        free = [name for i, name in enumerate(header) if i != time]
    else:
        free = header
    names = list(free if channels is None else channels)
    if not names:
        raise InputError(f"{path}: no channels: expected at least one column beside the time (there are: {header})")
    if twice := first_duplicate(names):
        raise InputError(f"channels: '{twice}' is named twice")
    columns = [_column(path, header, name) for name in names]
    cells = [[row[i] for i in columns] for row in rows]
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([[_number(cell) for cell in row] for row in cells])
    # Beyond float32, in which the series is kept, a number is infinite as well.
    bad = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{path}, line {lines[row]}, column '{names[column]}': expected a number, got '{cells[row][column]}' "
            f"({len(bad)} such values in all); fill them or leave the channel out"
        )
    return Series(values, names, times, digest)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]], list[int], int]:
    """Header, rows, the line of the file in which each row ends, and the digest of the file."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file; give a CSV file")
    try:
        with open_regular(path) as file:
            content = file.read()
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows, lines = [], []
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); save it as such"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no CSV: {error}") from error
    if len(rows) < 2:
        found = "a header, but no row" if rows else "nothing; the file is empty"
        raise InputError(f"{path}: expected a header and at least one row, got {found}")
    header = [name.strip() for name in rows[0]]
    if len(header) == 1 and (other := next((sign for sign in ";\t" if sign in header[0]), None)):
        named = "tabs" if other == "\t" else f"'{other}'"
        raise InputError(f"{path}: expected commas between the columns, got {named}; save it with commas")
    twice = first_duplicate(header)
    if twice is not None:
        raise InputError(f"{path}: two columns are called '{twice}'")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} cells as in the header, got {len(row)}")
    return header, rows[1:], lines[1:], xxh3_64_intdigest(content)


def _column(path: Path, header: list[str], name: str) -> int:
    if name not in header:
        there = ", ".join(header)
        raise InputError(f"{path}: no column '{name}'{did_you_mean(name, header)} (there are: {there})")
    return header.index(name)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _check_times(path: Path, column: str, cells: list[str], lines: list[int]) -> None:
    times: list[Any] = []
    for read in (float, datetime.fromisoformat):
        try:
            times = [read(cell.strip()) for cell in cells]
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
                    f"2016-07-01 13:00:00), got '{cell}'; --data.time_column names another column"
                ) from None
    for (before, after), line, cell in zip(pairwise(times), lines[1:], cells[1:], strict=True):
        if not _before(before, after):
            raise InputError(
                f"{path}, line {line}, column '{column}': the time '{cell}' is not after the one before; sort the "
                f"rows and leave one of each time, or name the time's column (--data.time_column)"
            )


def _before(first: Any, second: Any) -> bool:
    try:
        return bool(first < second)
    except TypeError:  # with a time zone and without
        return False
