"""Errors that a user can fix. The command line prints them in one or two lines, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """An error that the user can fix. The message names the value, what was expected, and what to do."""


class RenamedOptionWarning(FutureWarning):
    """An option was given by its former name. A FutureWarning, because Python hides DeprecationWarnings from users."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    # Prefer names that begin with what was typed to similar short names: acc means accuracy, not auc.
    match = [k for k in by_lower if k.startswith(name.lower())] or get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"; did you mean '{by_lower[match[0]]}'?" if match else ""


def first_duplicate(names: Iterable[str]) -> str | None:
    """Return the first name that occurs for the second time, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
