"""Show text from data as what it is: nothing in it controls the terminal, and no spreadsheet runs it as a formula."""

import re

# Control characters, line separators, marks that reverse the direction of writing, and bytes that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# Where a formula begins: at the start of a text, and behind what separates cells or rows for a spreadsheet that was set
# to semicolons or tabs, as most are where the comma is the decimal point. Quotes do not help there: they are those of
# another cell. Full-width signs count as well.
_FORMULA = re.compile("(^|[;\t\r\n])(?=[=+@\t\r\n＝＋－＠-])")  # noqa: RUF001
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def printable(text: str, lines: bool = False) -> str:
    r"""Write characters that a terminal would obey as escape sequences.

    Args:
        text: Any text.
        lines: Whether to keep line breaks.

    Example:
        >>> print(printable("cat\x1b[31m"))
        cat\x1b[31m
    """
    escaped = _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return escaped if lines else escaped.replace("\n", "\\n")


def csv_cell(text: str) -> str:
    """Put an apostrophe in front of what a spreadsheet would run as a formula; numbers stay numbers.

    Example:
        >>> csv_cell("=1+1"), csv_cell("cat;=1+1"), csv_cell("-1")
        ("'=1+1", "cat;'=1+1", '-1')
    """
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)
