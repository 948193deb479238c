"""Errors that a user can fix, which the command line prints in one or two lines, and the wording of messages."""

from collections.abc import Iterable, Sequence
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


def alternatives(names: Iterable[str]) -> str:
    """Return `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def abbreviate(names: Sequence[str], limit: int = 10) -> str:
    """Return up to `limit` names, separated by commas, and the number of the others."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def first_duplicate(names: Iterable[str]) -> str | None:
    """Return the first name that occurs for the second time, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
