"""Read texts and their classes from CSV, TSV and JSONL files."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from litnets.data.core.csv_files import detect_separator, missing_column, open_csv, read_utf8
from litnets.errors import InputError

TABLES = (".csv", ".tsv", ".jsonl")


class Sample(NamedTuple):
    """A text with its class.

    Args:
        text: The text.
        label: Name of the class; empty if it is unknown.
        where: File, and line if it holds several texts, for messages.
    """

    text: str
    label: str
    where: str


def read_samples(
    path: Path, text_column: str, label_column: str | None = None, has_header: bool = True
) -> list[Sample]:
    """Read the samples of a CSV, TSV or JSONL file; the suffix selects the format.

    Args:
        path: The file.
        text_column: Column of the texts.
        label_column: Column of the classes; None for samples of unknown class.
        has_header: Whether the first line of a CSV or TSV file names the columns; otherwise they are `column_1` ...

    Raises:
        InputError: The file cannot be read, has no rows or lacks a column; a cell holds no text or no class.
    """
    is_json = path.suffix.lower() == ".jsonl"
    hint = ", or --data.header false if the first line is data" if has_header and not is_json else ""
    rows = _read_jsonl(path) if is_json else _read_csv(path, has_header)
    samples = [_parse_sample(row, where, text_column, label_column, hint) for row, where in rows]
    if not samples:
        raise InputError(f"{path}: expected at least one text, got none")
    return samples


def read_columns(path: Path, names: Iterable[str], has_header: bool = True) -> dict[str, list[str]]:
    """Return the cells of columns of a CSV, TSV or JSONL file as texts, for each sample of `read_samples`.

    A column that no row has is left out. A cell that a row does not have is empty.
    """
    rows = list(_read_jsonl(path) if path.suffix.lower() == ".jsonl" else _read_csv(path, has_header))
    cells = {name: [row.get(name) for row, _ in rows] for name in names if any(name in row for row, _ in rows)}
    return {name: [_as_text(cell) for cell in column] for name, column in cells.items()}


def _as_text(cell: Any) -> str:
    return "" if cell is None else cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _parse_sample(row: Mapping[str, Any], where: str, text_column: str, label_column: str | None, hint: str) -> Sample:
    """Return the sample in a row; `hint` ends the error for a missing column."""
    for option, column in (("text_column", text_column), ("label_column", label_column)):
        if column is not None and column not in row:
            raise InputError(f"{missing_column(where, column, row)}; set --data.{option}{hint}")
    text = row[text_column]
    label = "" if label_column is None else row[label_column]
    for value in (text, label):
        # JSON can escape half of a surrogate pair, which a UTF-8 file of results cannot hold.
        if isinstance(value, str) and not _is_encodable(value):
            raise InputError(f"{where}: half of a surrogate pair, such as \\ud800, in a text; remove it")
    if not isinstance(text, str):
        raise InputError(f"{where}: expected a text in '{text_column}', got {_as_json(text)}")
    if label_column is None:
        return Sample(text, "", where)
    if not isinstance(label, (str, int)) or str(label).strip() == "":
        raise InputError(f"{where}: expected a class in '{label_column}', got {_as_json(label)}")
    return Sample(text, str(label).strip(), where)


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_json(value: Any) -> str:
    return json.dumps(value)[:100]


def _read_csv(path: Path, has_header: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each row of a CSV or TSV file by column name, and its location."""
    text = read_utf8(path)
    separator = detect_separator(path, text) if path.suffix.lower() == ".csv" else "\t"
    header, rows = open_csv(path, text, separator, has_header=has_header)
    for line, cells in rows:
        yield dict(zip(header, cells, strict=True)), f"{path}, line {line}"


def _read_jsonl(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the object in each line of a file, and its location."""
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from error
        except (ValueError, RecursionError) as error:  # a number with too many digits, or lists nested too deeply
            raise InputError(f"{where}: cannot be read as JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f'{where}: expected an object such as {{"text": "...", "label": "..."}}, got other JSON')
        yield row, where
