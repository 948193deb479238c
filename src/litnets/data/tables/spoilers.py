"""Find what silently spoils training on a table: copies of the target, constant columns, equal rows."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.fingerprint import Digests
from litnets.data.core.stray_files import find_copies
from litnets.data.tables.table import Table
from litnets.errors import abbreviate

Values = NDArray[np.float32]


def find_spoilers(table: Table, splits: Mapping[str, Tensor], digests: Digests) -> list[str]:
    """Return one line for each kind of problem.

    Args:
        table: The table.
        splits: Indices of the rows in train, val and test.
        digests: Digest of each row with its target.
    """
    train = splits["train"].numpy()
    inputs = table.inputs.numpy()[train]  # a copy
    for codes, texts in zip(inputs.T[table.num_numeric :], table.categories, strict=True):
        codes[codes == len(texts)] = np.nan
    targets = table.targets.numpy()[train].reshape(len(train), -1)
    names = table.target_names or (table.class_names if table.targets.ndim > 1 else None) or ["the target"]
    lines = []
    for number, name in enumerate(names):
        leaks = [
            column
            for column, values in zip(table.columns, inputs.T, strict=True)
            if _determines(values, targets[:, number])
        ]
        if leaks:
            lines.append(
                f"{_columns(leaks)} one to one with {name if name == 'the target' else repr(name)} and may be a copy "
                "of it; list in --data.ignore what is unknown at prediction"
            )
    encoding = table.encoding
    described = {*encoding.numeric, *encoding.categorical}
    constant = [
        column
        for column, values in zip(table.columns, inputs.T, strict=True)
        if column in described and len(values) and (values == values[0]).all()
    ]
    if constant:
        lines.append(f"{_columns(constant)} constant in the training split and without information; see --data.ignore")
    copies, originals = find_copies(digests, splits)
    equal_to_training = copies[np.isin(originals, train)]
    counts = {part: np.isin(splits[part], equal_to_training).sum() for part in ("val", "test")}
    if any(counts.values()):
        rows = " and ".join(f"{count} of {len(splits[part])} {part} rows" for part, count in counts.items() if count)
        lines.append(f"{rows} equal a training row in all columns used; if they are duplicates, remove them")
    return lines


def _columns(names: list[str]) -> str:
    shown = abbreviate([f"'{name}'" for name in names], 5)
    return f"column {shown} is" if len(names) == 1 else f"columns {shown} are"


def _determines(values: Values, targets: NDArray[np.generic]) -> bool:
    """Return whether values and targets correspond one to one, beyond coincidence.

    Continuous numbers differ in every row, so each of them belongs to one target anyway. They count only if sorting
    them sorts the targets as well.
    """
    present = ~np.isnan(values)
    values, targets = values[present], targets[present]
    for size in (200, len(values)):  # most columns are ruled out by a few rows
        if len(values) < 10 or not _is_one_to_one(values[:size], targets[:size]):
            return False
    ordered = targets[values.argsort(kind="stable")].astype(float)
    steps = np.diff(ordered)
    has_order = bool((steps >= 0).all() or (steps <= 0).all())
    num_distinct = len(np.unique(values))
    return num_distinct > 1 and (has_order or num_distinct <= len(values) / 2)


def _is_one_to_one(values: Values, targets: NDArray[np.generic]) -> bool:
    _, value_codes = np.unique(values, return_inverse=True)
    _, target_codes = np.unique(targets, return_inverse=True)
    size = int(target_codes.max()) + 1
    pairs = len(np.unique(value_codes.astype(np.int64) * size + target_codes))
    return pairs == size == int(value_codes.max()) + 1
