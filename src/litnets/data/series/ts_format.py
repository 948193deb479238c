"""Read the files of the UCR and UEA archives, each a set of time series with their classes.

    @problemName BasicMotions
    @univariate false
    @classLabel true walking running
    @data
    1.5,2.0,?:0.1,0.2,0.3:walking

Each line behind `@data` of a `.ts` file is a series: its dimensions, separated by colons, and its class. A missing
value is `?` or NaN.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from litnets.data.core.csv_files import decode_utf8, missing_column, read_bytes
from litnets.errors import InputError

ARCHIVE_SUFFIXES = (".ts", ".tsv")  # a `.ts` file comes before a `.tsv` file of the same series


class LabeledSeries(NamedTuple):
    """A series of a `.ts` file.

    Args:
        values: Values of the series, `(steps, dimensions)`, where missing ones are interpolated.
        label: Its class; empty if it is unknown.
        where: The file and line, for messages.
        digest: Digest of the line.
        num_missing: Number of values that were missing.
    """

    values: NDArray[np.float64]
    label: str
    where: str
    digest: int
    num_missing: int

    @property
    def names(self) -> list[str]:
        """Names of the dimensions, which the format does not have."""
        return [f"dim_{i}" for i in range(self.values.shape[1])]

    def select(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the values of the dimensions with these names, `(steps, names)`."""
        for name in names:
            if name not in self.names:
                raise InputError(missing_column(self.where, name, self.names))
        return self.values[:, [self.names.index(name) for name in names]]


def read_ts(path: Path, needs_label: bool = True) -> list[LabeledSeries]:
    """Read all series of a `.ts` file. They may have different lengths.

    Missing values are interpolated linearly over time; those at the ends of a series take the nearest value.

    Args:
        path: The file.
        needs_label: Whether series without a class are refused.

    Raises:
        InputError: The file cannot be read or has no series; the values have time stamps or no classes; a value is not
            a finite number; the dimensions of a series have different lengths or no values; series have different
            numbers of dimensions.
    """
    content = read_bytes(path)
    # Comments, which describe the origin of the data, may have other encodings than UTF-8, so they are removed.
    lines = decode_utf8(
        path, b"\n".join(b"" if line.startswith((b"#", b"%")) else line for line in content.split(b"\n"))
    )
    header: dict[str, str] = {}
    series: list[LabeledSeries] = []
    in_data = False
    for number, raw in enumerate(lines.split("\n"), 1):
        line, where = raw.strip(), f"{path}, line {number}"
        if not line:
            continue
        if in_data:
            series.append(_parse_line(line, where, header.get("classlabel", "").lower().startswith("true")))
            if series[-1].values.shape[1] != series[0].values.shape[1]:
                raise InputError(
                    f"{where}: expected {series[0].values.shape[1]} dimensions as in the first series, got "
                    f"{series[-1].values.shape[1]}"
                )
        elif line.startswith("@"):
            name, _, value = line[1:].partition(" ")
            header[name.lower()] = value.strip()
            in_data = name.lower() == "data"
            if in_data:
                _check_header(path, header, needs_label)
        else:
            raise InputError(f"{where}: expected a line that begins with @ before @data, got '{line[:50]}'")
    if not series:
        raise InputError(f"{path}: expected at least one series behind @data, got none")
    return series


def read_archive(path: Path, needs_label: bool = True) -> list[LabeledSeries]:
    """Read all series of a `.ts` file (see `read_ts`) or of a `.tsv` file of the UCR archive.

    Each line of a `.tsv` file is a series of one dimension: its class, and its values, separated by tabs. NaN at the
    end fills up shorter series.
    """
    if path.suffix.lower() != ".tsv":
        return read_ts(path, needs_label)
    lines = enumerate(decode_utf8(path, read_bytes(path)).split("\n"), 1)
    return [_parse_tsv_line(line.strip(), f"{path}, line {number}") for number, line in lines if line.strip()]


def _check_header(path: Path, header: dict[str, str], needs_label: bool) -> None:
    if header.get("timestamps", "false").lower() == "true":
        raise InputError(f"{path}: @timeStamps true: series with time stamps are not supported; write only the values")
    if needs_label and not header.get("classlabel", "").lower().startswith("true"):
        raise InputError(f"{path}: expected classes (@classLabel true), got none")


def _parse_tsv_line(line: str, where: str) -> LabeledSeries:
    label, *cells = line.split("\t")
    while cells and cells[-1].lower() == "nan":
        cells.pop()
    return _parse_line(f"{','.join(cells)}:{label}", where, has_label=True)


def _parse_line(line: str, where: str, has_label: bool) -> LabeledSeries:
    dimensions = line.split(":")
    label = dimensions.pop().strip() if has_label else ""
    if has_label and label in ("", "?"):
        raise InputError(f"{where}: expected a class at the end of the line, got none")
    try:
        columns = [np.array(cells.replace("?", "nan").split(","), dtype=np.float64) for cells in dimensions]
    except ValueError as error:
        raise InputError(f"{where}: expected numbers separated by commas, got another value ({error})") from error
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise InputError(f"{where}: expected dimensions of one length, got {lengths or 'no dimension'}")
    values = np.stack(columns, axis=1)
    missing = np.isnan(values)
    # The series is stored as float32, where larger numbers would become infinite.
    if (np.abs(values) > np.finfo(np.float32).max).any() or missing.all(0).any():
        raise InputError(f"{where}: expected finite numbers, got infinite ones or a dimension without values")
    steps = np.arange(len(values))
    for column, gaps in zip(values.T, missing.T, strict=True):
        column[gaps] = np.interp(steps[gaps], steps[~gaps], column[~gaps])
    return LabeledSeries(values, label, where, xxh3_64_intdigest(line.encode()), int(missing.sum()))
