"""Read the rows of a CSV file whose header names the columns of training. Convert other files first."""

import csv
import io
import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "nan", "NaN")
WITH_COMMA = r"[-+]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?"  # a number with a decimal comma
IS_DECIMAL = r"(^[-+]?0|\d{4}),|,(\d{1,2}|\d{4,})$"  # a comma that cannot separate thousands


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of each row and its columns: numbers, parts of dates, and indices of categories."""
    how = about["reading"]
    names = [*how["numbers"], *how["dates"], *how["categories"]]
    with Path(path).open(newline="", encoding="utf-8-sig") as opened:
        file = io.StringIO(opened.read(), newline="")  # read twice, even if it comes from a pipe
    header = file.readline()
    separators = [one for one in ",;\t|" if set(names) <= set(next(csv.reader([header], delimiter=one)))]
    separator = separators[0] if separators else ","
    file.seek(0)
    has_commas = bool(separators) and has_decimal_commas(csv.reader(file, delimiter=separator))
    file.seek(0)
    rows = csv.DictReader(file, delimiter=separator)
    for name in names:
        if name not in (rows.fieldnames or ()):
            raise SystemExit(f"{path}: no column '{name}'; expected a header with the columns of training")
    for number, row in enumerate(rows, 1):
        try:
            yield f"{path}, row {number}", encode(row, how, has_commas)
        except ValueError as error:
            raise SystemExit(f"{path}, row {number}: {error}") from error


def has_decimal_commas(rows: Iterator[list[str]]) -> bool:
    """Return whether the numbers of a column can only be read with decimal commas, as in training."""
    next(rows)  # the header
    decimal, other = set(), set()
    for row in rows:
        for column, cell in enumerate(row):
            text = cell.strip()
            if column in other or text in MISSING:
                continue
            if not re.fullmatch(WITH_COMMA, text):
                other.add(column)
            elif re.search(IS_DECIMAL, text):
                decimal.add(column)
    return bool(decimal - other)


def encode(row: dict[str, str], how: Any, has_commas: bool) -> Any:
    """Return the columns of a row. With `has_commas`, its numbers have decimal commas.

    Raises:
        ValueError: A cell is not a number or date, or there are too few or too many cells.
    """
    if None in row or None in row.values():
        raise ValueError(f"expected {len(row.keys() - {None})} cells; put a cell with a separator in double quotes")
    cells = {name: None if text.strip() in MISSING else text.strip() for name, text in row.items()}
    values = [to_number(cells[name], has_commas) for name in how["numbers"]]
    for name, written in how["dates"].items():
        values += date_parts(cells[name], written)
    for name, texts in how["categories"].items():
        values.append(texts.index(cells[name]) if cells[name] in texts else len(texts))
    return np.array(values, np.float32)


def to_number(text: str | None, has_commas: bool) -> float:
    if text is None:
        return float("nan")
    if has_commas and re.fullmatch(WITH_COMMA, text):
        text = text.replace(".", "").replace(",", ".")
    return float({"true": "1", "false": "0"}.get(text.lower(), text))


def date_parts(text: str | None, written: Any) -> list[float]:
    """Return days since 1970, and the positions in the year, the week and the day as points on a circle."""
    periods = (365.2425, 7, 1) if written["has_time"] else (365.2425, 7)
    if text is None:
        return [float("nan")] * (1 + 2 * len(periods))
    is_iso = written["pattern"] == "ISO 8601"
    moment = datetime.fromisoformat(text) if is_iso else datetime.strptime(text, written["pattern"])
    days = (moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta(0)) - datetime(1970, 1, 1)) / timedelta(1)
    angles = [2 * math.pi * days / period for period in periods]
    return [days, *(part for angle in angles for part in (math.sin(angle), math.cos(angle)))]
