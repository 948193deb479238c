"""The inputs of `litnets predict RUN INPUT...`: list and read them in chunks, and report those that are broken."""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from litnets.data.core.base import ArrayDataModule
from litnets.data.core.listing import check_name
from litnets.data.core.new_chunks import NamedSamples, NewChunk
from litnets.data.core.read_ahead import read_ahead
from litnets.errors import InputError
from litnets.safety.escaping import printable

_MAX_BROKEN = 1000  # inputs


def check_inputs(command: str, inputs: Iterable[str]) -> None:
    """Raise InputError for an input that cannot be the name of a file."""
    for source in inputs:
        if not source:
            raise InputError(f"{command} RUN INPUT: an INPUT is empty; `.` is the current folder")
        check_name(Path(source))


def check_not_replaced(inputs: Iterable[str], path: Path) -> None:
    """Check that predictions replace no input.

    Args:
        inputs: The inputs.
        path: The file that is written, or the folder that masks are written into.

    Raises:
        InputError: An input is that file or folder, or a file in that folder.
    """
    if not path.exists():
        return
    written = path.resolve()
    for source in inputs:
        found = Path(source).resolve()
        if written == found or (path.is_dir() and written == found.parent):
            raise InputError(f"--output {path} would replace the input {source}; name another file or folder")


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


def iter_chunks(
    inputs: Sequence[str], datamodule: ArrayDataModule, batch_size: int, counts: InputCounts
) -> Iterator[NewChunk]:
    """Yield the samples of files, of folders, or of standard input (`-`), in chunks that are not read yet."""
    for source in inputs:
        try:
            chunks = (
                datamodule.iter_lines(_standard_input(), batch_size)
                if source == "-"
                else datamodule.iter_new(Path(source), batch_size)
            )
            yield from chunks if len(inputs) == 1 else map(partial(_with_source, source), chunks)
        except InputError as error:  # the source itself cannot be read
            counts.report(error)


def _with_source(source: str, chunk: NewChunk) -> NewChunk:
    """Return a chunk whose columns name the file of each sample."""

    def read(items: list[Any]) -> NamedSamples:
        samples, columns = chunk.read(items)
        return samples, columns if "file" in columns else {"file": [source] * len(samples), **columns}

    return chunk._replace(read=read)


def read_chunks(chunks: Iterable[NewChunk], counts: InputCounts, ahead: bool = True) -> Generator[NamedSamples]:
    """Yield the readable samples of each chunk.

    Args:
        chunks: The chunks.
        counts: Reports the samples that are not readable.
        ahead: Whether to read the next chunk while the caller uses these samples. False for lines that somebody types,
            because each result would otherwise wait for the next line.
    """
    with closing(read_ahead(chunks, NewChunk.load) if ahead else (chunk.load() for chunk in chunks)) as results:
        for samples, errors in results:
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
