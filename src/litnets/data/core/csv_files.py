"""Read text and CSV files: the checks of encoding, header and rows that texts, tables and series share.

content = read_bytes(path)
header, rows = open_csv(path, decode_utf8(path, content))
for line, cells in rows: ...
"""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from litnets.errors import InputError, abbreviate, did_you_mean, first_duplicate
from litnets.safety.files import open_regular

# Names that pandas and R give to the column of row labels when they write a table.
INDEX_NAMES = ("", "__index_level_0__", "Unnamed: 0")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: The file does not exist or cannot be read, or it is a folder or another special file.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a file, got a folder")
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        siblings = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, siblings)
        raise InputError(f"{path}: cannot be read: {error.strerror or error}{hint}") from error


def decode_utf8(path: Path, content: bytes) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Args:
        path: Path of the file, for messages.
        content: Content of the file.

    Raises:
        InputError: The content is empty or not UTF-8.
    """
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {content[error.start]:#04x} at offset {error.start}"
        raise InputError(f"{path}, line {line}: not UTF-8 ({byte}); save the file as UTF-8") from error
    if not text or text.isspace():
        raise InputError(f"{path}: the file is empty")
    return text


def read_utf8(path: Path) -> str:
    """Return the text of a UTF-8 file; see `read_bytes` and `decode_utf8`."""
    return decode_utf8(path, read_bytes(path))


def iter_csv(path: Path, text: str, separator: str = ",", strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV text, header included: the line in which each row ends, and its cells. Skip empty lines.

    Args:
        path: Path of the file, for messages.
        text: Content of the file.
        separator: Character between two cells.
        strict: Whether to refuse misplaced quotes.

    Raises:
        InputError: The text is not valid CSV.
    """
    csv.field_size_limit(2**31 - 1)  # the default of 128 kB is too small for a document in a cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def detect_separator(path: Path, text: str) -> str:
    """Return the separator of a CSV text: a comma, unless the first lines are divided evenly only by another one."""

    head = text[: text.rfind("\n", 0, 2**18) + 1] or text

    def divides(separator: str) -> bool:
        counts = {len(cells) for _, cells in islice(iter_csv(path, head, separator, strict=False), 20)}
        return len(counts) == 1 and counts != {1}

    others = [separator for separator in ";\t|" if divides(separator)]
    return others[0] if len(others) == 1 and not divides(",") else ","


def open_csv(
    path: Path,
    text: str,
    separator: str = ",",
    strict: bool = True,
    has_header: bool = True,
    duplicate_hint: str = "rename one",
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the column names of a CSV text, stripped, and an iterator over its rows; see `iter_csv`.

    Empty cells at the end of the header, and beyond its columns in a row, are ignored.

    Args:
        path: Path of the file, for messages.
        text: Content of the file.
        separator: Character between two cells.
        strict: Whether to refuse misplaced quotes.
        has_header: Whether the first row holds the column names; otherwise they are `column_1`, `column_2` ...
        duplicate_hint: What to do if two columns have the same name.

    Raises:
        InputError: Two columns have the same name. While iterating: a row has more or fewer cells than the header.
    """
    rows = iter_csv(path, text, separator, strict)
    line, header = next(rows, (0, []))
    if has_header:
        names = [name.strip() for name in header]
        while len(names) > 1 and not names[-1]:
            names.pop()
    else:
        names = [f"column_{number}" for number in range(1, len(header) + 1)]
        rows = chain([(line, header)], rows)
    if duplicate := first_duplicate(names):
        raise InputError(f"{path}: two columns are named '{duplicate}'; {duplicate_hint}")
    return names, _check_row_lengths(path, names, rows, "the header" if has_header else "the first line")


def _check_row_lengths(
    path: Path, names: list[str], rows: Iterator[tuple[int, list[str]]], first: str
) -> Iterator[tuple[int, list[str]]]:
    for line, cells in rows:
        size = len(cells)
        while size > len(names) and not cells[size - 1].strip():
            size -= 1
        if size != len(names):
            raise InputError(
                f"{path}, line {line}: expected {len(names)} cells as in {first}, got {size}; "
                "put cells that contain the separator in double quotes"
            )
        yield line, cells[:size]


def missing_column(where: str | Path, name: str, columns: Iterable[str]) -> str:
    """Return the message for a column that does not exist.

    Args:
        where: The file, or the line of a file.
        name: Name of the missing column.
        columns: Names of the columns that exist.
    """
    names = list(columns)
    return f"{where}: no column '{name}'{did_you_mean(name, names)} (columns: {abbreviate(names, 20)})"
