"""Show text from data as what it is: nothing in it controls the terminal, and no spreadsheet runs it as a formula."""

import re

# Control characters, line separators, marks that reverse the direction of writing, and bytes that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  # those of full width as well
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
    """Put an apostrophe in front of a text that a spreadsheet would run as a formula; numbers stay numbers.

    Example:
        >>> csv_cell("=1+1"), csv_cell("-1")
        ("'=1+1", '-1')
    """
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
