"""Read new samples in chunks, so that any number of them can be predicted in constant memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from litnets.data.core.batching import ArrayDataset, RaggedDataset
from litnets.data.core.sample_columns import Columns
from litnets.errors import InputError
from litnets.safety.files import open_regular

# The samples, and the columns that identify them.
NamedSamples = tuple[ArrayDataset | RaggedDataset, Columns]


class NewChunk(NamedTuple):
    """Consecutive new samples that have not been read yet.

    Args:
        items: The files or rows to read.
        names: The name of each item in messages: its file, with its line if the file holds several items.
        read: Returns the samples of items, and the columns that identify them. Raises InputError for a broken item.
    """

    items: list[Any]
    names: list[str]
    read: Callable[[list[Any]], NamedSamples]

    def load(self) -> tuple[NamedSamples | None, list[InputError]]:
        """Return the readable samples (None if there are none), and an error for each broken item."""
        try:
            return self.read(self.items), []
        except InputError:
            errors = dict(self._broken(range(len(self.items))))
        readable = [item for index, item in enumerate(self.items) if index not in errors]
        named = [_with_name(self.names[index], error) for index, error in errors.items()]
        return self.read(readable) if readable else None, named

    def _broken(self, indices: Sequence[int]) -> Iterator[tuple[int, InputError]]:
        """Yield the index and the error of each broken item, by reading halves, quarters and so on of `indices`."""
        try:
            self.read([self.items[i] for i in indices])
        except InputError as error:
            if len(indices) == 1:
                yield indices[0], error
                return
            middle = len(indices) // 2
            yield from self._broken(indices[:middle])
            yield from self._broken(indices[middle:])


def _with_name(name: str, error: InputError) -> InputError:
    """Return the error with the name of its item in front, and without the row or line that it names.

    The item was read alone, so that its error always names row 1, or line 2 after a header.
    """
    text = str(error)
    if name in text:
        return error
    file = name.partition(", line ")[0]
    return InputError(f"{name}: {re.sub(r', (?:row|line) [0-9]+', '', text).removeprefix(f'{file}: ')}")


class Record(NamedTuple):
    """A row of a CSV file.

    Args:
        line: The line in which it begins, from 1.
        content: Its bytes, which are several lines if a cell contains line breaks.
    """

    line: int
    content: bytes


def iter_records(path: Path) -> Iterator[Record]:
    """Yield the rows of a CSV file, header included, without empty lines.

    Raises:
        InputError: The file cannot be read.
    """
    parts: list[bytes] = []
    quotes = 0
    try:
        with open_regular(path) as file:
            for number, line in enumerate(file, 1):
                if not parts and not line.strip():
                    continue
                parts.append(line)
                quotes += line.count(b'"')
                if quotes % 2 == 0:  # no cell is open
                    yield Record(number - len(parts) + 1, b"".join(parts))
                    parts, quotes = [], 0
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if parts:
        yield Record(number - len(parts) + 1, b"".join(parts))
