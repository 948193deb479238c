"""Read a table from files: choose an encoding for each column, and encode its values."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.csv_files import missing_column
from litnets.data.core.labels import match_labels
from litnets.data.tables.columns import Array, Rows, category_indices, detect_decimal
from litnets.data.tables.dates import DateFormat, encode_dates, is_ambiguous, parse_dates, part_names
from litnets.data.tables.frames import TableFormat, check_column, names_look_like_data, read_frame
from litnets.data.tables.roles import ColumnRoles
from litnets.data.tables.summary import ColumnSummary
from litnets.data.tables.table import Encoding, Table
from litnets.data.tables.targets import TargetReader
from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable


def read_rows(paths: Sequence[Path], table_format: TableFormat) -> Rows:
    """Return the rows of one file, or of several with the columns of the first in any order.

    Raises:
        InputError: A file cannot be read or lacks a column, or a column has incompatible types.
    """
    import polars as pl

    frames = [read_frame(path, table_format) for path in paths]
    names = frames[0].columns
    for path, frame in zip(paths[1:], frames[1:], strict=True):
        for name in names:
            if name not in frame.columns:
                raise InputError(
                    f"{missing_column(path, name, frame.columns)}; each split needs the columns of {paths[0].name}. To "
                    f"leave {path.name} out, set --data.path to {paths[0]}"
                )
    try:
        frame = pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{paths[0]} and the other splits have columns of different types: {error}") from error
    files = [(path, len(frame)) for path, frame in zip(paths, frames, strict=True)]
    return Rows(frame, files, table_format.decimal or detect_decimal(frame))


def read_table(
    paths: Mapping[str, Path], table_format: TableFormat, roles: ColumnRoles, trained: Encoding | None = None
) -> Table:
    """Return a table.

    Args:
        paths: The file of each split, train first; or only that of train, which is to be split.
        table_format: How the files are written.
        roles: What the columns are for.
        trained: Encoding of a checkpoint, which the table gets as well; None to infer one.

    Raises:
        InputError: A file cannot be read, a column does not exist, or a value is invalid. The message names the column,
            and the row, counted from 1 without the header.
    """
    rows = read_rows(list(paths.values()), table_format)
    for name in (*roles.targets, *roles.categorical, *roles.ignore, *roles.keep):
        check_column(rows.path, rows.frame, name, table_format.header)
    notes: list[str] = []
    summary: list[ColumnSummary] = []
    if trained is None:
        if table_format.header and rows.path.suffix.lower() != ".parquet" and names_look_like_data(rows.frame):
            notes.append("the first line was read as column names but looks like data; see --data.header false")
        kinds = _infer_encoding(rows, roles, summary, notes)
    else:
        kinds = trained
    encoding, inputs = _encode(rows, kinds)
    targets, class_names, target_names = TargetReader(rows, roles, notes).read(trained)
    for name in roles.targets:
        what = "number" if class_names is None else f"{len(class_names)} classes" if targets.ndim == 1 else "label"
        summary.append(ColumnSummary.of(rows.column(name), f"target: {what}"))
    indices = torch.arange(len(inputs)).split([size for _, size in rows.files])
    return Table(
        inputs,
        encoding.columns,
        encoding.categories,
        targets,
        class_names,
        target_names,
        encoding.dates,
        dict(zip(paths, indices, strict=True)) if len(paths) > 1 else {},
        sorted(summary, key=lambda column: rows.frame.columns.index(column.name)),
        [f"{rows.path}: {note}" for note in notes],
        None if roles.group is None else _group_indices(rows, roles.group),
    )


def _group_indices(rows: Rows, name: str) -> Tensor:
    """Return the index of the group of each row, `(rows,)`.

    Raises:
        InputError: A row has no group.
    """
    column = rows.column(name)
    missing = column.texts.is_null().arg_true()
    if len(missing):
        where = rows.cell(name, int(missing[0]), "group_column")
        raise InputError(f"{where}: expected the group of the row, got no value; fill it, or remove the row")
    groups = {text: index for index, text in enumerate(column.distinct)}
    return torch.tensor([groups[text] for text in column.texts])


def encode_new(rows: Rows, encoding: Encoding) -> Tensor:
    """Return rows to predict, `(rows, columns)`, encoded like `Table.inputs`.

    A category that is not in `encoding.categories` is read as missing, which is reported in one line.

    Raises:
        InputError: A column does not exist, or a value is not a number or date although it was in training.
    """
    arrays = _encode_numbers(rows, encoding)
    for name, categories in zip(encoding.categorical, encoding.categories, strict=True):
        check_column(rows.path, rows.frame, name)
        column = rows.column(name)
        matches = match_labels(column.distinct, categories)
        if unseen := sorted(set(column.distinct) - matches.keys()):
            shown = abbreviate([f"'{printable(text[:100])}'" for text in unseen], 5)
            where = f"{rows.path}: column '{printable(name)}'"
            print(f"{where}: unseen in training, read as missing: {shown}", flush=True)
        arrays.append(category_indices(column.texts, matches, len(categories)))
    return torch.from_numpy(np.stack(arrays, 1).astype(np.float32))


def cells_of(rows: Rows, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the cells of these columns as texts; a missing one is empty.

    Raises:
        InputError: A column does not exist.
    """
    columns = {}
    for name in names:
        check_column(rows.path, rows.frame, name)
        columns[name] = rows.column(name).texts.fill_null("").to_list()
    return columns


def _infer_encoding(rows: Rows, roles: ColumnRoles, summary: list[ColumnSummary], notes: list[str]) -> Encoding:
    """Return an encoding of the columns that are inputs; add a summary of each column and notes."""
    features = [name for name in rows.frame.columns if name not in (*roles.targets, *roles.ignore)]
    columns = {name: rows.column(name) for name in features}
    left_out: dict[str, str] = {}
    for name, column in columns.items():
        if name not in (*roles.keep, *roles.categorical) and (reason := column.reason_to_leave_out()):
            left_out[name] = reason
    if len(left_out) == len(features):  # there is nothing else to predict from
        left_out = {}
    if left_out:
        shown = [f"'{name}' ({reason})" for name, reason in left_out.items()]
        notes.append(f'left out {abbreviate(shown, 5)}; to use a column: --data.keep_columns "[NAME]"')
    numeric, dates, categorical = [], dict[str, DateFormat](), []
    for name, column in columns.items():
        if name in left_out:
            how = f"left out: {left_out[name]}"
        elif name in roles.categorical or not (column.is_numeric or column.date_format):
            categorical.append(name)
            how = f"one-hot, {column.num_distinct} categories"
            if is_ambiguous(column.texts):
                notes.append(
                    f"column '{name}': dates such as '{column.texts.drop_nulls()[0]}' may start with the day or the "
                    "month, so they are read as texts; write them as YYYY-MM-DD"
                )
        elif column.is_numeric:
            numeric.append(name)
            how = "scaled number"
        else:
            assert column.date_format is not None
            dates[name] = column.date_format
            how = f"date as {len(part_names(name, column.date_format))} numbers"
        summary.append(ColumnSummary.of(column, how))
    for name in roles.ignore:
        summary.append(ColumnSummary(name, "", None, None, "group" if name == roles.group else "ignored"))
    rare = [name for name in categorical if columns[name].num_distinct > 0.2 * max(100, len(columns[name]))]
    if rare:
        shown = [f"'{name}' ({columns[name].num_distinct})" for name in rare]
        groups = "" if roles.group else ", or --data.group_column if rows of a category belong together"
        notes.append(f"most categories are rare: {abbreviate(shown, 5)}; consider --data.ignore{groups}")
    if not features:
        raise InputError(f"{rows.path}: no column is left to predict from; remove some from --data.ignore")
    parts = [part for name, date_format in dates.items() for part in part_names(name, date_format)]
    return Encoding([*numeric, *parts, *categorical], [[] for _ in categorical], dates)


def _encode(rows: Rows, kinds: Encoding) -> tuple[Encoding, Tensor]:
    """Return the encoding with the categories of these rows, and the rows in it, `(rows, columns)`."""
    arrays = _encode_numbers(rows, kinds)
    categories = []
    for name in kinds.categorical:
        check_column(rows.path, rows.frame, name)
        column = rows.column(name)
        categories.append(column.distinct)
        indices = {text: i for i, text in enumerate(column.distinct)}
        arrays.append(category_indices(column.texts, indices, len(indices)))
    return Encoding(kinds.columns, categories, kinds.dates), torch.from_numpy(np.stack(arrays, 1).astype(np.float32))


def _encode_numbers(rows: Rows, encoding: Encoding) -> list[Array]:
    """Return the columns of numbers, then those of dates, each `(rows,)`.

    Raises:
        InputError: A column does not exist, or a value is not a number or date.
    """
    arrays = []
    for name in encoding.numeric:
        check_column(rows.path, rows.frame, name)
        column = rows.column(name)
        if (row := column.not_a_number()) is not None:
            raise InputError(
                f"{rows.cell(name, row)}: expected a number as in training, got '{column.texts[row]}'; fix it, or "
                "leave the cell empty"
            )
        arrays.append(column.to_array())
    for name, date_format in encoding.dates.items():
        check_column(rows.path, rows.frame, name)
        column = rows.column(name)
        days = parse_dates(column.series if column.is_date_type else column.texts, date_format.pattern)
        invalid = (days.is_null() & column.texts.is_not_null()).arg_true()
        if len(invalid):
            raise InputError(
                f"{rows.cell(name, int(invalid[0]))}: expected a date as in training ({date_format.pattern}), got "
                f"'{column.texts[int(invalid[0])]}'; fix it, or leave the cell empty"
            )
        arrays += encode_dates(days.to_numpy().astype(float), date_format.has_time)
    return arrays
