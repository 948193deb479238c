"""Read a CSV or Parquet file into a polars DataFrame. The cells of a CSV file stay texts."""

import csv
import io
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from litnets.data.core.csv_files import decode_utf8, detect_separator, missing_column, open_csv, read_bytes
from litnets.errors import InputError

if TYPE_CHECKING:
    import polars

# A Parquet file may unpack to MIN_CELLS cells, or to MAX_CELLS_PER_BYTE cells per byte if that is more.
MIN_CELLS, MAX_CELLS_PER_BYTE = 2**26, 16


@dataclass(frozen=True)
class TableFormat:
    """How tables are written.

    Args:
        separator: Character between two cells of a CSV file; None to detect it.
        header: Whether the first line of a CSV file names the columns.
        decimal: Decimal separator of the numbers; None to detect it in each column.

    Raises:
        InputError: The separator is not one character.
    """

    separator: str | None = None
    header: bool = True
    decimal: Literal[".", ","] | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator.encode()) != 1:
            raise InputError(f"separator: expected one character such as ';', got '{self.separator}'")


def read_frame(path: Path, table_format: TableFormat) -> "polars.DataFrame":
    """Return the columns of a file; those of a CSV file hold texts.

    Raises:
        InputError: The file cannot be read, is not valid CSV or Parquet, or has no row.
    """
    return parse_frame(path, read_bytes(path), table_format)


def parse_frame(path: Path, content: bytes, table_format: TableFormat) -> "polars.DataFrame":
    """Return the columns of the content of a file; see `read_frame`."""
    import polars as pl

    try:
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path, content)
        else:
            frame = _read_csv(path, content, table_format)
    except InputError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not len(frame):
        raise InputError(f"{path}: expected at least one row, got only a header")
    return frame


def check_column(path: Path, frame: "polars.DataFrame", name: str, header: bool = True) -> None:
    """Raise InputError if there is no column of this name."""
    if name in frame.columns:
        return
    hint = ""
    if len(frame.columns) == 1:
        hint = "; set --data.separator if it is not the right one"
    elif header and names_look_like_data(frame):
        hint = "; set --data.header false if the first line is data"
    raise InputError(f"{missing_column(path, name, frame.columns)}{hint}")


def names_look_like_data(frame: "polars.DataFrame") -> bool:
    """Return whether the first line of a CSV file, which was read as column names, looks like data.

    It does if all columns of numbers have numbers for names that do not just count, as years or positions do.
    """
    import polars as pl

    head = frame.head(100)
    names = [name for name in head.columns if head[name].dtype == pl.String and _all_numbers(head[name].drop_nulls())]
    if not names or not _all_numbers(pl.Series(names)):
        return False
    numbers = pl.Series(names).str.strip_chars().cast(pl.Float64)
    counts = (numbers.diff().drop_nulls() == 1).all() and (numbers == numbers.floor()).all()
    return not counts or any("." in name for name in names)


def _all_numbers(texts: "polars.Series") -> bool:
    import polars as pl

    return len(texts) > 0 and not texts.str.strip_chars().cast(pl.Float64, strict=False).has_nulls()


def _read_csv(path: Path, content: bytes, table_format: TableFormat) -> "polars.DataFrame":
    """Return all columns of a CSV file as texts. Polars parses it; the csv module finds what is wrong with it."""
    import polars as pl

    text = decode_utf8(path, content)
    separator = table_format.separator
    if separator is None:
        separator = "\t" if path.suffix.lower() == ".tsv" else detect_separator(path, text)
    has_header = table_format.header

    def parse(source: bytes) -> "polars.DataFrame":
        return pl.read_csv(source, separator=separator, has_header=has_header, infer_schema=False)

    hint = "rename one, or set --data.header false if the first line is data"
    names, _ = open_csv(path, text, separator, strict=False, has_header=has_header, duplicate_hint=hint)
    # Polars would read an empty line as a row of missing values, and does not end a line at a carriage return.
    if re.search(r"\r(?!\n)", text) or (len(names) > 1 and ("\n\n" in text or "\n\r\n" in text)):
        frame = parse(_rewrite(path, text, separator, has_header, strict=False))
    else:
        try:
            frame = parse(content)
        except pl.exceptions.ComputeError:
            frame = parse(_rewrite(path, text, separator, has_header))
        else:
            if frame.width != len(names):  # separators at the end of the header add a column
                frame = parse(_rewrite(path, text, separator, has_header))
            elif frame[:, -1].has_nulls():  # polars fills rows that are too short
                deque(open_csv(path, text, separator, has_header=has_header)[1], maxlen=0)
    frame.columns = names  # polars would rename duplicates
    return frame


def _rewrite(path: Path, text: str, separator: str, has_header: bool, strict: bool = True) -> bytes:
    """Return the table with one line per row, without empty lines and without separators at the ends of all rows.

    Raises:
        InputError: The text is not valid CSV, or a row has more or fewer cells than the header.
    """
    names, rows = open_csv(path, text, separator, strict, has_header)
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    if has_header:
        writer.writerow(names)
    writer.writerows(cells for _, cells in rows)
    return out.getvalue().encode()


def _read_parquet(path: Path, content: bytes) -> "polars.DataFrame":
    """Read a Parquet file, in which a kilobyte may hold gigabytes.

    Raises:
        InputError: The table is far larger than the file.
    """
    import polars as pl

    columns = len(pl.read_parquet_schema(io.BytesIO(content)))
    rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
    limit = max(MIN_CELLS, MAX_CELLS_PER_BYTE * len(content))
    if rows * columns > limit:
        raise InputError(f"{path}: {rows:,} rows of {columns} columns in {len(content):,} bytes; expected fewer cells")
    frame = pl.read_parquet(content)  # stores equal texts once
    sizes = frame.select(pl.col(pl.String).str.len_bytes().sum().cast(pl.UInt64))
    for name, size in sizes.row(0, named=True).items() if sizes.width else ():
        if size > 16 * limit:
            raise InputError(f"{path}: column '{name}' has {size:,} bytes of text in a file of {len(content):,} bytes")
    return frame
