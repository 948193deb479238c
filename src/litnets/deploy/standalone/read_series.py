"""Read a time series from a CSV file whose header names the channels. A forecast reads its last steps."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of the file and the values of the channels, `(steps, channels)`."""
    how = about["reading"]
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for name in how["channels"]:
            if name not in (reader.fieldnames or ()):
                raise SystemExit(f"{path}: no column '{name}'; expected a header, and commas between the columns")
        rows = list(reader)
    steps = how.get("look_back", len(rows))
    if len(rows) < steps:
        raise SystemExit(f"{path}: a forecast needs {steps} rows, got {len(rows)}")
    first = len(rows) - steps + 1
    for number, row in enumerate(rows[-steps:], first):
        if None in row or None in row.values():
            raise SystemExit(f"{path}, row {number}: expected cells separated by commas, with decimal points")
    try:
        values = np.array([[row[name] for name in how["channels"]] for row in rows[-steps:]], np.float32)
    except ValueError as error:
        raise SystemExit(f"{path}: {error}; from row {first} on, each cell must be a number") from error
    yield path, values
