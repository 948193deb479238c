"""Read the rows of a CSV file, with commas, whose header names the columns of training. Convert other files first."""

import csv
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "nan", "NaN")


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of each row and its columns: numbers, parts of dates, and indices of categories."""
    how = about["reading"]
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for name in (*how["numbers"], *how["dates"], *how["categories"]):
            if name not in (rows.fieldnames or ()):
                raise SystemExit(f"{path}: no column '{name}'; expected a header, and commas between the columns")
        for number, row in enumerate(rows, 1):
            try:
                yield f"{path}, row {number}", encode(row, how)
            except ValueError as error:
                raise SystemExit(f"{path}, row {number}: {error}") from error


def encode(row: dict[str, str], how: Any) -> Any:
    """Return the columns of a row.

    Raises:
        ValueError: A cell is not a number or date, or there are too few or too many cells, as with decimal commas.
    """
    if None in row or None in row.values():
        raise ValueError(
            f"expected {len(row.keys() - {None})} cells, separated by commas, with decimal points in numbers"
        )
    cells = {name: None if text.strip() in MISSING else text.strip() for name, text in row.items()}
    values = [to_number(cells[name]) for name in how["numbers"]]
    for name, written in how["dates"].items():
        values += date_parts(cells[name], written)
    for name, texts in how["categories"].items():
        values.append(texts.index(cells[name]) if cells[name] in texts else len(texts))
    return np.array(values, np.float32)


def to_number(text: str | None) -> float:
    return float("nan") if text is None else float({"true": "1", "false": "0"}.get(text.lower(), text))


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
