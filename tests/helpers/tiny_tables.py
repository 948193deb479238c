"""Tiny tables in the real on-disk formats."""

from pathlib import Path

import numpy as np

TOWNS = ("Köln", "Oslo", "Rome")
HEADER = "age,town,income,bought,red,round,price"


def table_rows(size: int = 60) -> list[list[str]]:
    """Return rows for `HEADER`, the same on every call. Some ages and towns are missing.

    The targets depend on age and income: bought (yes, no), red (0, 1), round (true, false) and price.
    """
    random = np.random.default_rng(0)
    rows = []
    for i in range(size):
        age, income = int(random.integers(18, 80)), round(float(random.uniform(1e4, 1e5)), 2)
        town = "" if i % 17 == 3 else TOWNS[i % 3]
        bought = "yes" if income > 5e4 else "no"
        price = round(3e5 + 40 * age + income / 10 + float(random.normal()), 3)
        age_cell = "NA" if i % 13 == 5 else str(age)
        labels = [str(int(age > 40)), "true" if income > 3e4 else "false"]
        rows.append([age_cell, town, str(income), bought, *labels, str(price)])
    return rows


def write_csv(path: Path, rows: list[list[str]] | None = None, header: str = HEADER) -> Path:
    lines = [header, *(",".join(row) for row in (table_rows() if rows is None else rows))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
