"""The parser of a command that is not one of Lightning's."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from litnets.errors import InputError


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors. Abbreviated options are refused, because they would hide typos.

    Args:
        command: The name of the command.
        description: What the command does, for its `--help`.
        **options: Arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, command: str, description: str = "", **options: Any) -> None:
        self.command = command
        super().__init__(
            f"litnets {command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.command}: {message}; `litnets {self.command} --help` shows how to use it")


def asks_for_help(options: Sequence[str]) -> bool:
    """Return whether `-h` or `--help` is among the options."""
    return "-h" in options or "--help" in options
