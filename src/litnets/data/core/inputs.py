"""The forms in which a user passes new inputs: files, arrays, tables, or a list of them.

`ArrayDataModule.read_inputs` of each modality is built from these functions.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from litnets.errors import InputError

Array = NDArray[Any]


def as_items(inputs: Any) -> list[Any]:
    """Return the items of a list or tuple, or `inputs` itself as the only item. Nested lists of numbers are one item.

    Raises:
        InputError: The list is empty.
    """
    first = inputs
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    is_list = isinstance(inputs, (list, tuple)) and not isinstance(first, (int, float))
    items = list(inputs) if is_list else [inputs]
    if not items or (hasattr(inputs, "__len__") and not len(inputs)):
        raise InputError("expected at least one input, got none")
    return items


def is_path(item: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether an item names a file or folder."""
    return isinstance(item, (str, os.PathLike))


def as_paths(items: Sequence[Any]) -> list[Path] | None:
    """Return the items as paths, or None if one of them is something else."""
    return [Path(item) for item in items if is_path(item)] if all(map(is_path, items)) else None


def is_table(item: Any) -> bool:
    """Return whether an item is a DataFrame of pandas or polars. Neither package is imported."""
    return hasattr(item, "columns") and hasattr(item, "dtypes")


def as_array(item: Any, expected: str) -> Array:
    """Return an array of numbers.

    Args:
        item: An array, a tensor, or nested lists of numbers.
        expected: What is expected, for the error.

    Raises:
        InputError: The item is something else, or empty.
    """
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
    try:
        array = np.asarray(item)
    except ValueError as error:  # nested lists of different lengths
        raise InputError(f"expected {expected}, got lists of different lengths") from error
    if array.dtype.kind not in "biuf" or (array.ndim == 0 and not isinstance(item, np.ndarray)):
        raise InputError(f"expected {expected}, got {describe(item)}")
    if not array.size:
        raise InputError(f"expected {expected}, got an empty array of shape {array.shape}")
    return array


def describe(item: Any) -> str:
    """Return a few words about an input of a wrong kind, for an error."""
    if isinstance(item, np.ndarray):
        return f"an array of {item.dtype}"
    if isinstance(item, str):
        return f"the text {item[:50]!r}"
    kind = type(item).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def table_columns(table: Any) -> dict[str, list[Any]]:
    """Return the columns of a table as lists, with None for missing values.

    Args:
        table: A DataFrame of pandas or polars, a row as a dict, or a list of such rows.
    """
    if isinstance(table, Mapping):
        table = [table]
    if isinstance(table, (list, tuple)):
        names = dict.fromkeys(str(name) for row in table for name in row)
        return {name: [_or_none(row.get(name)) for row in table] for name in names}
    columns = {}
    for name in table.columns:
        column = table[name]
        values = column.to_list()
        missing = column.isna().to_list() if hasattr(column, "isna") else [value is None for value in values]
        columns[str(name)] = [None if gone else value for value, gone in zip(values, missing, strict=True)]
    return columns


def check_finite(name: str, values: Tensor) -> None:
    """Raise InputError if a value is missing, infinite, or too large for float32."""
    finite = values.isfinite().flatten(1).all(1)
    if not finite.all():
        count = int((~finite).sum())
        raise InputError(
            f"{name}: expected finite numbers, got NaN or infinity in {count} of {len(values)} samples, the first at "
            f"index {int((~finite).nonzero()[0])}; remove or impute them"
        )


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
