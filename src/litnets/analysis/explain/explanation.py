"""The explanation of a run: pictures and tables in a folder, and explain.json, which lists the pictures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from litnets.safety.escaping import csv_cell

Table = Sequence[Mapping[str, Any]]  # rows with the same keys


@dataclass(frozen=True)
class Entry:
    """A picture.

    Args:
        method: How it was made.
        picture: Name of the PNG file.
        caption: What it shows.
        passed: Whether everything in it passed its check; None without a check.
        check: What was checked, and the result.
        count: How much of it passed, such as `7 of 8`.
    """

    method: str
    picture: str
    caption: str
    passed: bool | None
    check: str
    count: str


@dataclass
class Explanation:
    """What `litnets explain` writes.

    Args:
        folder: The folder to write into.
        entries: The pictures.
        notes: What was left out, one line each.
    """

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, method: str, caption: str, check: str = "", passed: Sequence[bool] = ()) -> Path:
        """Add a picture, and return the path to draw it to.

        Args:
            method: How it was made.
            caption: What it shows.
            check: What was checked, and the result.
            passed: Whether each of its parts passed the check; empty without a check.
        """
        count = f"{sum(passed)} of {len(passed)}" if passed else ""
        entry = Entry(method, f"{method}.png", caption, all(passed) if passed else None, check, count)
        self.entries.append(entry)
        return self.folder / entry.picture

    def write_table(self, name: str, rows: Table) -> None:
        """Write a table as CSV; a cell that a spreadsheet would run as a formula gets an apostrophe in front."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: csv_cell(_cell(value)) for key, value in row.items()} for row in rows)
        (self.folder / name).write_text(text.getvalue(), encoding="utf-8")

    def write_index(self) -> None:
        """Write explain.json."""
        content = {"explanations": [asdict(entry) for entry in self.entries], "notes": self.notes}
        text = json.dumps(content, indent=2) + "\n"
        (self.folder / "explain.json").write_text(text, encoding="utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
