"""The inputs of `litnets predict RUN INPUT...`: list and read them in chunks, and report those that are broken."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.listing import check_name
from litnets.data.core.new_chunks import NamedSamples, NewChunk
from litnets.errors import InputError
from litnets.safety.escaping import printable

_MAX_BROKEN = 1000  # inputs


def add_network_options(parser: ArgumentParser) -> None:
    """Add the options that say which network of a run to load, and on which device."""
    parser.add_argument("--device")
    parser.add_argument("--ckpt_path", default="best")
    parser.add_argument("--runs_dir")
    parser.add_argument("--trust", action="append", default=[])


def check_inputs(command: str, inputs: Iterable[str]) -> None:
    """Raise InputError for an input that cannot be the name of a file."""
    for source in inputs:
        if not source:
            raise InputError(f"{command} RUN INPUT: an INPUT is empty; `.` is the current folder")
        check_name(Path(source))


class InputCounts:
    """The number of predicted and of broken inputs.

    Attributes:
        strict: Whether to stop at the first broken input.
    """

    def __init__(self) -> None:
        self.predicted = 0
        self.broken = 0
        self.strict = False

    @property
    def exit_code(self) -> int:
        """0 without broken inputs, 1 if some were predicted, 2 if none was."""
        if not self.broken:
            return 0
        return 1 if self.predicted else 2

    def report(self, broken: InputError) -> None:
        """Print a broken input, and count it.

        Raises:
            InputError: `strict` is set, or too many inputs are broken.
        """
        self.broken += 1
        if self.strict:
            raise broken
        print(f"litnets: {printable(str(broken), lines=True)}", file=sys.stderr)
        if self.broken == _MAX_BROKEN:
            raise InputError(f"stopped after {self.broken} broken inputs")


def iter_chunks(source: str, datamodule: ArrayDataModule, batch_size: int, counts: InputCounts) -> Iterator[NewChunk]:
    """Yield the samples of a file, of a folder, or of standard input (`-`), in chunks that are not read yet."""
    chunks = (
        datamodule.iter_lines(_standard_input(), batch_size)
        if source == "-"
        else datamodule.iter_new(Path(source), batch_size)
    )
    while True:
        with redirect_stdout(sys.stderr):  # notes on the inputs must not mix with the predictions
            try:
                chunk = next(chunks, None)
            except InputError as error:  # the source itself cannot be read
                chunk = None
                counts.report(error)
        if chunk is None:
            return
        yield chunk


def read_chunks(chunks: Iterable[NewChunk], counts: InputCounts) -> Iterator[NamedSamples]:
    """Yield the readable samples of each chunk."""
    for chunk in chunks:
        with redirect_stdout(sys.stderr):
            samples, errors = chunk.load()
        for broken in errors:
            counts.report(broken)
        if samples is not None:
            yield samples


def _standard_input() -> Iterator[str]:
    """Yield the lines of standard input."""
    is_empty = True
    for number, line in enumerate(sys.stdin.buffer, 1):
        is_empty = False
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"standard input, line {number}: not UTF-8") from error
    if is_empty:
        raise InputError("standard input is empty; expected one text per line")
