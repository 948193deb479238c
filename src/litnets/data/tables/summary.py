"""The columns of a table, one line each: what they hold and how they are encoded."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from litnets.data.tables.columns import Column
from litnets.safety.escaping import csv_cell, printable

MAX_LINES = 20


@dataclass(frozen=True)
class ColumnSummary:
    """A column of a file.

    Args:
        name: Name of the column.
        kind: `integer`, `number`, `boolean`, `date` or `text`; empty if it was not read.
        missing: Number of missing values.
        distinct: Number of distinct values.
        use: How the column is encoded, or why it is left out.
    """

    name: str
    kind: str
    missing: int | None
    distinct: int | None
    use: str

    @classmethod
    def of(cls, column: Column, use: str) -> "ColumnSummary":
        return cls(column.name, column.kind, column.num_missing, column.num_distinct, use)


def summary_lines(columns: Sequence[ColumnSummary]) -> list[str]:
    """Return at most `MAX_LINES` lines that describe the columns."""
    shown = columns if len(columns) <= MAX_LINES else columns[: MAX_LINES - 1]
    rows = [
        (
            printable(column.name)[:30],
            column.kind,
            "" if column.missing is None else f"{column.missing} missing",
            "" if column.distinct is None else f"{column.distinct} distinct",
            column.use,
        )
        for column in shown
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        f"  {name:{widths[0]}}  {kind:{widths[1]}}  {missing:>{widths[2]}}  {distinct:>{widths[3]}}  {use}"
        for name, kind, missing, distinct, use in rows
    ]
    if len(shown) < len(columns):
        lines.append(f"  and {len(columns) - len(shown)} more")
    return lines


def columns_csv(columns: Sequence[ColumnSummary]) -> str:
    """Return the content of columns.csv."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["column", "type", "missing", "distinct", "use"])
    for column in columns:
        writer.writerow([csv_cell(column.name), column.kind, column.missing, column.distinct, csv_cell(column.use)])
    return out.getvalue()
