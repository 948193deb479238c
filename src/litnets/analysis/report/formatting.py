"""Format the cells of tables, for the page and for the model card."""

import math
import re
from typing import Any

from markupsafe import Markup

from litnets.analysis.report.blocks import Table


def is_number(value: Any) -> bool:
    """Return whether a cell is a number, which is aligned to the right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_cell(value: Any) -> str | Markup:
    """Return a cell as text: counts with thousands separators, other numbers with four decimals where that fits.

    Example:
        >>> format_cell(12345), format_cell(0.12345), format_cell(1.5e-7), format_cell(None)
        ('12,345', '0.1235', '1.5e-07', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"  # noqa: RUF001
        is_readable = value == 0 or 1e-3 <= abs(value) < 1e4
        return f"{value:.4f}" if is_readable else f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.3g}"
    if is_number(value):
        return f"{value:,}"
    return value if isinstance(value, Markup) else str(value)


def escape_markdown(value: Any) -> str:
    r"""Return a cell for Markdown, in which nothing from data is read as Markdown or HTML.

    Example:
        >>> escape_markdown("<b>a|b</b>")
        '&lt;b&gt;a\\|b&lt;/b&gt;'
    """
    text = "" if isinstance(value, Markup) else str(format_cell(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", re.sub(r"\s+", " ", text))


def markdown_table(table: Table) -> str:
    """Return a table as Markdown. A list of names and values gets an empty head, which Markdown requires."""
    width = len(table.head) or max((len(row) for row in table.rows), default=1)
    head = table.head or [""] * width
    aligned = [
        "---:" if table.rows and all(is_number(row[i]) or row[i] is None for row in table.rows) else "---"
        for i in range(width)
    ]
    lines = [map(escape_markdown, head), aligned, *(map(escape_markdown, row) for row in table.rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
