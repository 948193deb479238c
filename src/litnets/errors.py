"""Errors for what a person can get wrong: the command prints them as one or two lines, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something that the person at the keyboard can mend: it names the thing, what was expected and what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that is nearest to `name`, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[match[0]]}'?" if match else ""
