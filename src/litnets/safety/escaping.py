"""Escape text from data, so that it cannot control the terminal or be a formula in a spreadsheet; hide passwords."""

import re

# Control characters, line separators, marks that reverse the direction of writing, and bytes that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# A formula begins at the start of a cell. In a spreadsheet set to semicolons or tabs, as is common where the comma is
# the decimal point, a cell also starts after these separators and after a line break, even inside quotes. Full-width
# signs count as well.
_FORMULA = re.compile("(^|[;\t\r\n])(?=[=+@\t\r\n＝＋－＠-])")  # noqa: RUF001
_PASSWORD = re.compile(r"(://[^\s:/@]*:)\S*@")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def printable(text: str, lines: bool = False) -> str:
    r"""Replace control characters, which a terminal would obey, by visible escape sequences.

    Args:
        text: Any text.
        lines: Whether to keep line breaks.

    Example:
        >>> print(printable("cat\x1b[31m"))
        cat\x1b[31m
    """
    escaped = _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return escaped if lines else escaped.replace("\n", "\\n")


def without_passwords(text: str) -> str:
    """Replace the passwords of URLs by `***`.

    Example:
        >>> without_passwords("search --storage postgresql://ann:secret@host/optuna")
        'search --storage postgresql://ann:***@host/optuna'
    """
    return _PASSWORD.sub(r"\1***@", text)


def csv_cell(text: str) -> str:
    """Put an apostrophe before anything that a spreadsheet would run as a formula, but not before numbers.

    Example:
        >>> csv_cell("=1+1"), csv_cell("cat;=1+1"), csv_cell("-1")
        ("'=1+1", "cat;'=1+1", '-1')
    """
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)
