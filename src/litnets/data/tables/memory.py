"""Encode rows in memory like those of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.inputs import as_array, is_table, table_columns
from litnets.data.tables.columns import Rows
from litnets.data.tables.reading import encode_new
from litnets.data.tables.table import Encoding
from litnets.errors import InputError

if TYPE_CHECKING:
    import polars


def encode_inputs(inputs: Any, encoding: Encoding) -> Tensor:
    """Return rows from memory, `(rows, columns)`, encoded like `Table.inputs`; see `encode_new`.

    Args:
        inputs: A DataFrame of pandas or polars, a row as a dict, a list of such rows, or an array of numeric columns.
        encoding: The encoding of the training.

    Raises:
        InputError: There is no row, a column is missing, or a value has the wrong type.
    """
    is_rows = isinstance(inputs, (list, tuple)) and all(isinstance(row, Mapping) for row in inputs)
    if is_table(inputs) or isinstance(inputs, Mapping) or (is_rows and inputs):
        frame = _to_frame(table_columns(inputs))
        if not len(frame):
            raise InputError("the table: expected at least one row, got none")
        return encode_new(Rows(frame, [(Path("the table"), len(frame))]), encoding)
    array = as_array(inputs, "a DataFrame, rows as dicts, or an array of numbers")
    if others := [*encoding.categorical, *encoding.dates]:
        kind = "categorical" if encoding.categorical else "a date"
        raise InputError(
            f"column '{others[0]}' is {kind}, which an array of numbers cannot hold; pass a DataFrame, or rows as dicts"
        )
    columns = encoding.columns
    if array.ndim not in (1, 2) or array.shape[-1] != len(columns):
        raise InputError(
            f"expected rows of shape (N, {len(columns)}) with the columns {', '.join(columns)}, got an array of shape "
            f"{array.shape}"
        )
    values = np.atleast_2d(array).astype(np.float32)
    if np.isinf(values).any():
        raise InputError("expected finite numbers, or NaN for a missing value, got an infinite or too large one")
    return torch.from_numpy(values)


def _to_frame(columns: Mapping[str, Sequence[Any]]) -> "polars.DataFrame":
    """Return a table whose columns are numbers, booleans or texts. Dates and mixed columns become texts."""
    import polars as pl

    series = []
    for name, values in columns.items():
        present = [value for value in values if value is not None]
        if all(isinstance(value, (bool, np.bool_)) for value in present):
            series.append(pl.Series(name, values, dtype=pl.Boolean))
        elif all(isinstance(value, (int, np.integer)) for value in present):
            series.append(pl.Series(name, values))
        elif all(isinstance(value, (int, float, np.number)) for value in present):
            series.append(pl.Series(name, values, dtype=pl.Float64, strict=False))
        else:
            texts = [None if value is None else str(value) for value in values]
            series.append(pl.Series(name, texts, dtype=pl.String))
    return pl.DataFrame(series)
