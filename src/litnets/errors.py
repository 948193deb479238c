"""Errors for what a person can get wrong: the command prints them as one or two lines, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something that the person at the keyboard can mend: it names the thing, what was expected and what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that is nearest to `name`, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    # An abbreviation is nearer to what it begins than to another word of its length: acc is accuracy, not auc.
    match = [k for k in by_lower if k.startswith(name.lower())] or get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"; did you mean '{by_lower[match[0]]}'?" if match else ""


def first_duplicate(names: Iterable[str]) -> str | None:
    """The first name that is there for the second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
