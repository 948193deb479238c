"""What a section of the report consists of. The templates draw these blocks; sections build them from a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from litnets.analysis.report.svg import Figure


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar = "note"
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Table:
    """A table. Numbers are formatted and aligned to the right; a cell may also be a picture.

    Args:
        head: Names of the columns; empty for a list of names and values.
        rows: Texts, numbers, None for an empty cell, or `Markup`.
        title: What the table shows.
        caption: How to read it.
    """

    kind: ClassVar = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """Figures side by side, where there is room."""

    kind: ClassVar = "figures"
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Example:
    """An input with lines of text below it.

    Args:
        content: The input as HTML.
        lines: The lines, such as the prediction.
        is_wrong: Whether the prediction is wrong.
    """

    content: Markup
    lines: Sequence[str]
    is_wrong: bool = False


@dataclass(frozen=True)
class Gallery:
    """Inputs side by side.

    Args:
        title: What the inputs are.
        examples: The inputs.
        caption: How to read them.
        legend: The name and the color of each class, for masks.
    """

    kind: ClassVar = "gallery"
    title: str
    examples: Sequence[Example]
    caption: str = ""
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Code:
    """A long text that is collapsed until the reader clicks on it."""

    kind: ClassVar = "code"
    title: str
    text: str


Block = Note | Table | Figures | Gallery | Code


@dataclass(frozen=True)
class Section:
    """A part of the report, which the table of contents lists."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())
