"""Write predictions chunk by chunk, as CSV, JSON Lines or Parquet, to a file or to standard output."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol, TextIO

from litnets.cli.preflight import check_output
from litnets.errors import InputError
from litnets.runs.storage import replace_non_finite
from litnets.safety.escaping import printable
from litnets.safety.files import replacing
from litnets.training.predictions import Cells, to_csv

STANDARD_OUTPUT = "-"
_SUFFIXES = (".csv", ".jsonl", ".parquet")


class Writer(Protocol):
    """Writes rows."""

    def write(self, columns: Mapping[str, Cells]) -> None:
        """Write the next rows, passed as columns. The first call determines the columns of all rows."""


def check_destination(output: str, overwrite: bool) -> None:
    """Check that predictions can be written to `output`.

    Raises:
        InputError: The suffix is unknown, the folder does not exist, or the file exists already.
    """
    if output == STANDARD_OUTPUT:
        return
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES and not path.is_dir():
        raise InputError(
            f"--output {output}: expected a file that ends in {', '.join(_SUFFIXES)}, or - for standard output"
        )
    check_output(path, overwrite)


def mask_table(output: str) -> Path:
    """Return the table of the masks for `--output FOLDER`, which is FOLDER.csv, or `--output FOLDER.csv`.

    Raises:
        InputError: `output` is not the name of a folder.
    """
    path = Path(output)
    if output == STANDARD_OUTPUT or not path.name or path.suffix.lower() in (".jsonl", ".parquet"):
        raise InputError(f"--output {output}: masks are written into a folder; expected a name such as masks")
    return path if path.suffix.lower() == ".csv" else path.with_name(f"{path.name}.csv")


@contextmanager
def open_output(output: str, stdout: TextIO) -> Iterator[Writer]:
    """Open a file, to write it atomically, or standard output (`-`), to write CSV.

    Args:
        output: The file.
        stdout: Standard output; `sys.stdout` may be redirected.
    """
    if output == STANDARD_OUTPUT:
        yield _TextWriter(partial(_print, stdout) if stdout.isatty() else stdout.write, is_json=False)
        return
    path = Path(output)
    try:
        with replacing(path) as file:
            if path.suffix.lower() != ".parquet":
                yield _TextWriter(lambda text: file.write(text.encode()), is_json=path.suffix.lower() == ".jsonl")
                return
            with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
                writer = _ParquetWriter(Path(folder))
                yield writer
                writer.concatenate(file)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _print(stdout: TextIO, text: str) -> None:
    print(printable(text, lines=True), end="", file=stdout)


class _TextWriter:
    """Writes CSV or JSON Lines.

    Args:
        write_text: The function that writes the text.
        is_json: Whether to write JSON Lines.
    """

    def __init__(self, write_text: Callable[[str], object], is_json: bool) -> None:
        self._write_text, self._is_json = write_text, is_json
        self._names: list[str] | None = None

    def write(self, columns: Mapping[str, Cells]) -> None:
        is_first, self._names = self._names is None, self._names or list(columns)
        columns = _select(columns, self._names)
        if self._is_json:
            rows = zip(*columns.values(), strict=True)
            objects = (replace_non_finite(dict(zip(columns, row, strict=True))) for row in rows)  # JSON has no NaN
            text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in objects)
        else:
            text = to_csv(columns, header=is_first)
        self._write_text(text)


class _ParquetWriter:
    """Writes each chunk to a separate file, because a Parquet file cannot be appended to.

    Args:
        folder: The folder of the chunk files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schema: Any = None
        self._chunks = 0

    def write(self, columns: Mapping[str, Cells]) -> None:
        import polars as pl

        if self._schema is None:
            frame = pl.DataFrame(columns)
            self._schema = frame.schema
        else:
            frame = pl.DataFrame(_select(columns, list(self._schema)), schema=self._schema)
        frame.write_parquet(self._folder / f"{self._chunks:09}.parquet")
        self._chunks += 1

    def concatenate(self, file: BinaryIO) -> None:
        """Write all chunks into one file, in order."""
        import polars as pl

        pl.scan_parquet(sorted(self._folder.iterdir()), glob=False).sink_parquet(file)


def _select(columns: Mapping[str, Cells], names: list[str]) -> dict[str, Cells]:
    """Return the columns with these names. A column that this chunk lacks is empty."""
    size = len(next(iter(columns.values())))
    return {name: columns.get(name, [""] * size) for name in names}
