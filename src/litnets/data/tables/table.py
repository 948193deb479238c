"""A table in memory, and what its training rows teach: scale, categories, and whether there is something to learn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.fingerprint import Digests, digest_each, digest_rows
from litnets.errors import InputError

# A text with more different values than this is a name or an address, not a category.
MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Table:
    """A table in memory, its values as they are in the file.

    Args:
        inputs: `(rows, columns)` float32: first the numbers, NaN where one is missing, then the categories, each as an
            index into its `texts`, or `len(texts)` where it is missing.
        columns: Names of the columns of `inputs`.
        texts: The different texts of each category; together they say how many of the columns are categories.
        targets: `(rows,)` classes, `(rows, classes)` flags, or `(rows, targets)` float32 numbers.
        class_names: Names of the classes or flags; None where the targets are numbers.
        target_names: Names of the numbers; None where there are classes.
    """

    inputs: Tensor
    columns: list[str]
    texts: list[list[str]]
    targets: Tensor
    class_names: list[str] | None = None
    target_names: list[str] | None = None

    @property
    def numbers(self) -> int:
        return len(self.columns) - len(self.texts)


def statistics_of(table: Table, train: Tensor) -> dict[str, Any]:
    """Median, mean and standard deviation of each number and the categories, of the training rows. A number that is
    constant gets the standard deviation 1, so that it becomes zero and not infinite."""
    rows = table.inputs[train].double().numpy()
    for column, values in zip(table.columns, rows[:, : table.numbers].T, strict=False):
        if np.isnan(values).all():
            raise InputError(f"column '{column}' has no value in the training split; leave it out")
    numbers = rows[:, : table.numbers]
    median = np.nanmedian(numbers, axis=0)
    filled = np.where(np.isnan(numbers), median, numbers)
    std = filled.std(0)
    categories = []
    for column, texts, codes in zip(
        table.columns[table.numbers :], table.texts, rows[:, table.numbers :].T, strict=True
    ):
        categories.append([texts[code] for code in np.unique(codes).astype(int) if code < len(texts)])
        if len(categories[-1]) > MAX_CATEGORIES:
            many = f"{len(categories[-1])} different texts, more than {MAX_CATEGORIES}"
            raise InputError(f"column '{column}' has {many}, and is no category; leave it out (--data.ignore)")
        if not categories[-1]:
            raise InputError(f"column '{column}' has no value in the training split; leave it out")
    return {
        "median": median.tolist(),
        "mean": filled.mean(0).tolist(),
        "std": np.where(std > 0, std, 1.0).tolist(),
        "categories": categories,
    }


def digest_table(table: Table) -> Digests:
    """Return the digest of each row. A category counts as its text, because its number depends on the other rows."""
    categories = [
        digest_each(text.encode() for text in [*texts, ""])[codes.numpy().astype(np.intp)]
        for texts, codes in zip(table.texts, table.inputs[:, table.numbers :].T, strict=True)
    ]
    targets = table.targets.numpy()
    if table.class_names is not None and targets.ndim == 1:
        targets = digest_each(name.encode() for name in table.class_names)[targets]
    return digest_rows(table.inputs[:, : table.numbers], *categories, targets)


def check_targets(table: Table, train: Tensor) -> None:
    """Raises InputError if the training rows give nothing to learn."""
    targets = table.targets
    if table.class_names is None:
        for name, values in zip(table.target_names or [], targets[train].T, strict=True):
            if (values == values[0]).all():
                raise InputError(f"target '{name}' is {values[0].item():g} in every training row: nothing to learn")
    elif targets.ndim > 1:
        for name, flags in zip(table.class_names, targets[train].T, strict=True):
            if (flags == flags[0]).all():
                raise InputError(
                    f"target '{name}' is {int(flags[0])} in every training row: nothing to learn; leave it out, or "
                    f"choose another --data.split_seed"
                )
    elif len(table.class_names) < 2:
        raise InputError(f"the target has one class only, '{table.class_names[0]}': nothing to learn")
    else:
        for number, name in enumerate(table.class_names):
            rows = torch.nonzero(targets == number).flatten()
            if len(rows) == 1:
                raise InputError(
                    f"class '{name}' has one sample only (row {int(rows[0]) + 1}), which cannot be in training and in "
                    f"test; add some, or take it out"
                )
            if not (targets[train] == number).any():
                raise InputError(
                    f"class '{name}' ({len(rows)} samples, the first in row {int(rows[0]) + 1}) is not in the training "
                    f"split; choose other sizes or another --data.split_seed"
                )
