"""Texts read from files: tables, lines of JSON, files of nothing but text."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from litnets.errors import InputError, did_you_mean, first_duplicate
from litnets.files import open_regular

TABLES = (".csv", ".tsv", ".jsonl")


class Sample(NamedTuple):
    """A text, the name of its class, and where it stands, for messages."""

    text: str
    label: str
    where: str


def read_samples(path: Path, text_column: str, label_column: str | None = None) -> list[Sample]:
    """The samples of a file with named columns, by its suffix CSV, TSV or JSONL.

    Args:
        path: The file.
        text_column: Column of the texts.
        label_column: Column of the classes; None for samples whose class is not known.

    Raises:
        InputError: A file that cannot be read or has no texts, a column that is not there, a cell that is no text or
            no class.
    """
    rows = _read_lines(path) if path.suffix.lower() == ".jsonl" else _read_table(path)
    samples = [_sample(row, where, text_column, label_column) for row, where in rows]
    if not samples:
        raise InputError(f"{path}: there are no texts in it")
    return samples


def read_utf8(path: Path) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: A file that is missing, empty or not UTF-8.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 at byte {error.start} (0x{content[error.start]:02x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return text.removeprefix("\ufeff")


def _sample(row: dict[str, Any], where: str, text_column: str, label_column: str | None) -> Sample:
    """The sample in a row; without a label's column its class is not known."""
    for option, column in (("text_column", text_column), ("label_column", label_column)):
        if column is not None and column not in row:
            found = f"{did_you_mean(column, row)} (there are: {', '.join(row)})"
            raise InputError(f"{where}: no column '{column}'{found}; --data.{option} names another")
    text, label = row[text_column], "" if label_column is None else row[label_column]
    for value in (text, label):  # \ud800 in JSON is no character, and no file could hold it
        if isinstance(value, str) and not value.isascii() and not _is_encodable(value):
            raise InputError(f"{where}: half of a surrogate pair, such as \\ud800, in a text; remove it")
    if not isinstance(text, str):
        raise InputError(f"{where}: expected a text in '{text_column}', got {_shown(text)}")
    if label_column is None:
        return Sample(text, "", where)
    if not isinstance(label, (str, int)) or str(label).strip() == "":
        raise InputError(f"{where}: expected a class in '{label_column}', got {_shown(label)}")
    return Sample(text, str(label).strip(), where)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    return json.dumps(value)[:100]


def _read_table(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a CSV or TSV file by their columns' names, and where each stands."""
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 kB that Python allows
    dialect = "excel" if path.suffix.lower() == ".csv" else "excel-tab"
    reader = csv.reader(io.StringIO(read_utf8(path), newline=""), dialect, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if twice := first_duplicate(header):
            raise InputError(f"{path}: two columns are called '{twice}'; give each a name of its own")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if len(row) not in (0, len(header)):  # an empty line is no row
                expected = f"expected {len(header)} columns ({', '.join(header)}), got {len(row)}"
                raise InputError(f"{where}: {expected}; a text with the separator in it stands in double quotes")
            if row:
                yield dict(zip(header, row, strict=True)), where
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no proper table: {error}") from error


def _read_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file with one in each line, and where each stands."""
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from error
        except (ValueError, RecursionError) as error:  # a number of more digits, or deeper lists, than Python reads
            raise InputError(f"{where}: not read as JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f'{where}: expected an object, such as {{"text": "...", "label": "..."}}')
        yield row, where
