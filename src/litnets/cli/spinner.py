"""A spinner on standard error while a command works."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def spinner(text: str, hide: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a spinner, a text and the elapsed time, unless standard error is no terminal.

    Args:
        text: The text. In it, `{task.completed}` stands for the number of things that are done.
        hide: Whether to hide the spinner even on a terminal.

    Yields:
        A function to call with this number.
    """
    columns = (SpinnerColumn(), TextColumn(text), TimeElapsedColumn())
    disable = hide or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=disable, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done: progress.update(task, completed=done)
