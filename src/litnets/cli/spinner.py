"""A spinner on standard error while a command works."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def spinner(text: str, hide: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a spinner, a text and the elapsed time if standard error is a terminal.

    Args:
        text: The text, in which `{task.completed}` stands for a number.
        hide: Whether to hide the spinner even on a terminal.

    Yields:
        A function that updates this number.
    """
    columns = (SpinnerColumn(), TextColumn(text), TimeElapsedColumn())
    disable = hide or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=disable, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda number: progress.update(task, completed=number)
