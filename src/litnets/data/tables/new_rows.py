"""The rows of a new file, chunk by chunk, so that a file of any length is predicted in constant memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litnets.data.core.csv_files import decode_utf8, detect_separator, open_csv
from litnets.data.core.new_chunks import iter_records
from litnets.data.tables.columns import Rows, detect_decimal
from litnets.data.tables.frames import TableFormat, parse_frame
from litnets.errors import InputError, did_you_mean
from litnets.safety.files import open_regular

if TYPE_CHECKING:
    import polars

_BYTES = 2**20  # that are searched at once


@dataclass(frozen=True)
class RowChunk:
    """Consecutive rows of a file.

    Args:
        path: The file.
        items: The number of each row in its file, from 1, and its content.
        names: What messages call each row.
        decimal: The decimal separator of the file, if it is known.
        parse: Returns the table of some of the contents.
    """

    path: Path
    items: list[tuple[int, Any]]
    names: list[str]
    decimal: Any
    parse: "Callable[[list[Any]], polars.DataFrame]"

    def read(self, items: list[tuple[int, Any]]) -> Rows:
        """Return the table of some of the rows.

        Raises:
            InputError: A row is broken.
        """
        frame = self.parse([content for _, content in items])
        if len(frame) != len(items):
            raise InputError(f"{self.path}: expected {len(items)} rows, got {len(frame)}; check its quotes")
        return Rows(frame, [(self.path, len(frame))], self.decimal or detect_decimal(frame))


def iter_rows(path: Path, table_format: TableFormat, size: int, required: Sequence[str]) -> Iterator[RowChunk]:
    """Yield the rows of a CSV or Parquet file in chunks of `size`.

    A CSV file is one chunk if commas in its cells may be decimal, because only all of its rows can tell.

    Args:
        path: The file.
        table_format: How it is written.
        size: Rows in a chunk.
        required: The columns that the network needs.

    Raises:
        InputError: The file cannot be read, or lacks a column.
    """
    chunks = _iter_parquet if path.suffix.lower() == ".parquet" else _iter_csv
    return chunks(path, table_format, size, required)


def check_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    """Compare the columns of a file with those of the training.

    Raises:
        InputError: Some are missing. The message names them all.
    """
    missing = [name for name in required if name not in columns]
    if not missing:
        return
    unused = [name for name in columns if name not in required]
    shown = ", ".join(f"'{name}'{did_you_mean(name, unused)}" for name in missing[:20])
    raise InputError(
        f"{path}: {len(missing)} of the {len(required)} columns of the training are missing: {shown}\n"
        f"columns that the network does not use: {', '.join(unused[:20]) or 'none'}"
    )


def _iter_csv(path: Path, table_format: TableFormat, size: int, required: Sequence[str]) -> Iterator[RowChunk]:
    records = iter_records(path)
    head = list(islice(records, 20))
    text = decode_utf8(path, b"".join(record.content for record in head))
    separator = table_format.separator
    if separator is None:
        separator = "\t" if path.suffix.lower() == ".tsv" else detect_separator(path, text)
    names, _ = open_csv(path, text, separator, strict=False, has_header=table_format.header)
    check_columns(path, names, required)
    known_format = replace(table_format, separator=separator)
    header = head[0].content if table_format.header else b""
    if header and not header.endswith((b"\n", b"\r")):
        raise InputError(f"{path}: expected at least one row, got only a header")

    def parse(contents: list[bytes]) -> "polars.DataFrame":
        return parse_frame(path, header + b"".join(contents), known_format)

    rows = enumerate(chain(head[1:] if header else head, records), 1)
    if table_format.decimal is None and _may_have_decimal_commas(path, separator):
        size = 2**63 - 1
    is_empty = True
    while chunk := list(islice(rows, size)):
        is_empty = False
        items = [(number, record.content) for number, record in chunk]
        where = [f"{path}, line {record.line}" for _, record in chunk]
        yield RowChunk(path, items, where, table_format.decimal, parse)
    if is_empty:
        raise InputError(f"{path}: expected at least one row, got only a header")


def _may_have_decimal_commas(path: Path, separator: str) -> bool:
    """Return whether cells may contain commas: those of a comma-separated file only between quotes."""
    sign = b'"' if separator == "," else b","
    with open_regular(path) as file:
        return any(sign in part for part in iter(lambda: file.read(_BYTES), b""))


def _iter_parquet(path: Path, table_format: TableFormat, size: int, required: Sequence[str]) -> Iterator[RowChunk]:
    import polars as pl

    try:
        with open_regular(path) as file:
            check_columns(path, list(pl.read_parquet_schema(file)), required)
        table = pl.scan_parquet(path, glob=False)
        total = int(table.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not total:
        raise InputError(f"{path}: expected at least one row, got none")
    for start in range(0, total, size):
        frame = table.slice(start, size).collect()
        items = [(start + row + 1, row) for row in range(len(frame))]
        where = [f"{path}, row {number}" for number, _ in items]
        yield RowChunk(path, items, where, table_format.decimal, frame.__getitem__)
