"""A table in memory, the statistics of its training rows, and checks of its targets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.fingerprint import Digests, digest_each, digest_rows
from litnets.data.core.labels import match_labels
from litnets.data.core.scaling import replace_zero_std
from litnets.data.tables.dates import DateFormat, part_names
from litnets.data.tables.skewness import fit_quantiles
from litnets.data.tables.summary import ColumnSummary
from litnets.errors import InputError

# A text column with more distinct values than this holds names or addresses, not categories.
MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Encoding:
    """Which columns of a file become the columns of `Table.inputs`, and how.

    Args:
        columns: Names of the columns of the inputs: numbers, then the parts of dates, then categories.
        categories: Distinct texts of each categorical column.
        dates: How the dates of each column of dates are written.
        class_names: Names of the classes; None if the targets are numbers.
    """

    columns: list[str]
    categories: list[list[str]]
    dates: Mapping[str, DateFormat] = field(default_factory=dict)
    class_names: list[str] | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Encoding":
        """Return the encoding of a checkpoint. Those of earlier versions have no dates.

        Raises:
            InputError: The checkpoint holds no such encoding.
        """
        try:
            dates = {name: DateFormat(**date_format) for name, date_format in state.get("dates", {}).items()}
            return cls(state["columns"], state["categories"], dates, state["class_names"])
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"the checkpoint does not say how its table was encoded ({error!r})") from error

    def state(self) -> dict[str, Any]:
        """Return what `from_state` reads, without the categories, as plain values."""
        dates = {name: asdict(date_format) for name, date_format in self.dates.items()}
        return {"columns": self.columns, "dates": dates, "class_names": self.class_names}

    def matches(self, other: "Encoding") -> bool:
        """Return whether the same columns are encoded in the same way, with any categories."""
        return (self.columns, self.dates, self.class_names) == (other.columns, other.dates, other.class_names)

    @property
    def numeric(self) -> list[str]:
        """Names of the columns of numbers."""
        num_parts = sum(len(part_names(name, date_format)) for name, date_format in self.dates.items())
        return self.columns[: len(self.columns) - len(self.categories) - num_parts]

    @property
    def required(self) -> list[str]:
        """Names of the columns of a file that are encoded."""
        return [*self.numeric, *self.dates, *self.categorical]

    @property
    def categorical(self) -> list[str]:
        """Names of the columns of categories."""
        return self.columns[len(self.columns) - len(self.categories) :]

    @property
    def input_indices(self) -> dict[str, list[int]]:
        """Indices of the columns of the inputs that each column of a file becomes."""
        parts = {name: len(part_names(name, date_format)) for name, date_format in self.dates.items()}
        return consecutive_indices({name: parts.get(name, 1) for name in self.required})


def consecutive_indices(sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Return as many consecutive indices for each name as its size."""
    ends = accumulate(sizes.values())
    return {name: list(range(end - size, end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@dataclass(frozen=True)
class Table:
    """A table in memory, with unscaled values.

    Args:
        inputs: `(rows, columns)` float32. Numeric columns come first, with NaN for missing values. A categorical column
            holds indices into its list in `categories`, or the length of that list for missing values.
        columns: Names of the columns of `inputs`.
        categories: Distinct texts of each categorical column.
        targets: Class indices `(rows,)`, multi-label targets `(rows, classes)`, or float32 numbers `(rows, targets)`.
        class_names: Names of the classes; None if the targets are numbers.
        target_names: Names of numeric targets; None if the targets are classes.
        dates: The columns of dates, whose parts are numeric columns of `inputs`.
        parts: Indices of the rows of each file, by the split that it holds. Empty for one file.
        summary: The columns of the file, for the user.
        notes: What the user should know about the columns, one line each.
        groups: Index of the group of each row, `(rows,)`, whose rows are in one split; None for no groups.
    """

    inputs: Tensor
    columns: list[str]
    categories: list[list[str]]
    targets: Tensor
    class_names: list[str] | None = None
    target_names: list[str] | None = None
    dates: Mapping[str, DateFormat] = field(default_factory=dict)
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    summary: list[ColumnSummary] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    groups: Tensor | None = None

    @property
    def num_numeric(self) -> int:
        """Number of numeric columns."""
        return len(self.columns) - len(self.categories)

    @property
    def encoding(self) -> Encoding:
        """How the rows are encoded."""
        return Encoding(self.columns, self.categories, self.dates, self.class_names)


def map_categories(categories: list[list[str]], trained: list[list[str]]) -> list[Tensor]:
    """Return, for each categorical column, the index in `trained` of each category, and last that of a missing value.

    The index of a missing value is the number of categories in `trained`. It also stands for all other categories.
    """
    indices = []
    for texts, trained_texts in zip(categories, trained, strict=True):
        matches = match_labels(texts, trained_texts, one_dataset=True)
        missing = len(trained_texts)
        indices.append(torch.tensor([*(matches.get(text, missing) for text in texts), missing]))
    return indices


def with_categories(table: Table, trained: list[list[str]]) -> Table:
    """Return the table with other lists of categories. Categories that are not in them become missing values."""
    inputs = table.inputs.clone()
    for column, indices in enumerate(map_categories(table.categories, trained), table.num_numeric):
        inputs[:, column] = indices[inputs[:, column].long()].to(inputs.dtype)
    return replace(table, inputs=inputs, categories=trained)


def fit_statistics(table: Table, train: Tensor, normalize_skewed: bool = False) -> dict[str, Any]:
    """Return the preprocessing statistics of the training rows.

    Args:
        table: The table.
        train: Indices of the training rows.
        normalize_skewed: Whether to fit the quantiles of skewed columns.

    Returns:
        Median, mean and standard deviation of each numeric column, the last two with missing values filled by the
        median (1 as the deviation of a constant column), and the categories of each categorical column; with
        `normalize_skewed`, also the quantiles of each skewed column, by its index.

    Raises:
        InputError: A column has no value in the training rows, or too many categories.
    """
    rows = table.inputs[train].double().numpy()
    numeric, codes = rows[:, : table.num_numeric], rows[:, table.num_numeric :]
    for column, values in zip(table.columns, numeric.T, strict=False):
        if np.isnan(values).all():
            raise _no_value(column)
    median = np.nanmedian(numeric, axis=0)
    filled = np.where(np.isnan(numeric), median, numeric)
    categories = []
    for column, texts, column_codes in zip(table.columns[table.num_numeric :], table.categories, codes.T, strict=True):
        present = [texts[code] for code in np.unique(column_codes).astype(int) if code < len(texts)]
        if not present:
            raise _no_value(column)
        if len(present) > MAX_CATEGORIES:
            raise InputError(
                f"column '{column}': expected at most {MAX_CATEGORIES} categories, got {len(present)} distinct texts; "
                "list it in --data.ignore"
            )
        categories.append(present)
    statistics = {
        "median": median.tolist(),
        "mean": filled.mean(0).tolist(),
        "std": replace_zero_std(filled.std(0)),
        "categories": categories,
    }
    return statistics | ({"quantiles": fit_quantiles(filled)} if normalize_skewed else {})


def _no_value(column: str) -> InputError:
    return InputError(f"column '{column}' has no value in the training split; list it in --data.ignore")


def digest_table(table: Table) -> Digests:
    """Return the digest of each row. Categories are digested as texts, because their indices depend on other rows."""
    categories = [
        digest_each(text.encode() for text in [*texts, ""])[codes.numpy().astype(np.intp)]
        for texts, codes in zip(table.categories, table.inputs[:, table.num_numeric :].T, strict=True)
    ]
    targets = table.targets.numpy()
    if table.class_names is not None and targets.ndim == 1:
        targets = digest_each(name.encode() for name in table.class_names)[targets]
    return digest_rows(table.inputs[:, : table.num_numeric], *categories, targets)


def check_targets(table: Table, train: Tensor) -> None:
    """Raise InputError if the targets of the training rows leave nothing to learn.

    Args:
        table: The table.
        train: Indices of the training rows.
    """
    if table.class_names is None:
        assert table.target_names is not None
        _check_not_constant(table.target_names, table.targets[train])
    elif table.targets.ndim > 1:
        _check_not_constant(table.class_names, table.targets[train])
    else:
        _check_classes(table.class_names, table.targets, train)


def _check_not_constant(names: list[str], targets: Tensor) -> None:
    """Raise InputError for a column of `targets`, `(rows, targets)`, that is constant."""
    for name, values in zip(names, targets.T, strict=True):
        if (values == values[0]).all():
            raise InputError(
                f"target '{name}' is {values[0].item():g} in every training row, so there is nothing to learn; remove "
                "it, or set another --data.split_seed"
            )


def _check_classes(names: list[str], targets: Tensor, train: Tensor) -> None:
    """Raise InputError if there is only one class, or a class has only one row or no training row."""
    if len(names) < 2:
        raise InputError(f"the target has only one class, '{names[0]}'; expected at least two")
    for index, name in enumerate(names):
        rows = torch.nonzero(targets == index).flatten()
        if len(rows) < 2:
            count = f"only one sample (row {int(rows[0]) + 1})" if len(rows) else "no sample"
            raise InputError(
                f"class '{name}' has {count}; expected at least two, one to train on and one to test on; add some, or "
                "remove the class"
            )
        if not (targets[train] == index).any():
            raise InputError(
                f"class '{name}' ({len(rows)} samples, the first in row {int(rows[0]) + 1}) is not in the training "
                "split; set other split sizes or another --data.split_seed"
            )
