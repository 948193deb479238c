"""Read the targets of a table as classes, multi-label targets or numbers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from litnets.data.core.batching import smallest_type
from litnets.data.core.labels import equal_numbers, match_labels
from litnets.data.tables.columns import Array, Column, Rows, category_indices, parse_numbers
from litnets.data.tables.frames import check_column
from litnets.data.tables.roles import ColumnRoles
from litnets.data.tables.table import Encoding
from litnets.errors import InputError, abbreviate, did_you_mean

# An integer target with more distinct values than this is a quantity, not a class.
_MAX_INTEGER_CLASSES = 20
# An integer target with at most this many distinct values might have been meant as classes.
_MAX_POSSIBLE_CLASSES = 100

Targets = tuple[Tensor, list[str] | None, list[str] | None]  # targets, class names, target names; see `Table`


def encode_targets(rows: Rows, roles: ColumnRoles, trained: Encoding) -> Tensor:
    """Return the targets of new rows, encoded as in training.

    Raises:
        InputError: A target column does not exist, or a value is missing or not one of the training's classes.
    """
    for name in roles.targets:
        check_column(rows.path, rows.frame, name)
    targets, _, _ = TargetReader(rows, roles, []).read(trained)
    return targets


class TargetReader:
    """Reads the targets of a table as classes, multi-label targets or numbers, by `task` or by their values."""

    def __init__(self, rows: Rows, roles: ColumnRoles, notes: list[str]) -> None:
        self.rows, self.roles, self.notes = rows, roles, notes

    def read(self, trained: Encoding | None) -> Targets:
        """Return the targets, encoded as in training. `trained` is None for a new training.

        Raises:
            InputError: A value is missing, is not a number, or is not one of the training's classes.
        """
        columns = {name: self.rows.column(name) for name in self.roles.targets}
        self._check_present(columns)
        if trained is not None and trained.class_names is None:
            return self._stack_numbers(columns)
        if len(columns) == 1:
            (column,) = columns.values()
            if trained is not None and trained.class_names is not None:
                return self._match_classes(column, trained.class_names)
            if self._holds_classes(column):
                return self._encode_classes(column)
        labels = {name: self._parse_binary(column) for name, column in columns.items()}
        all_binary = all(column is not None for column in labels.values())
        if self.roles.task == "classification" or (self.roles.task is None and all_binary):
            return self._stack_labels(labels)
        return self._stack_numbers(columns)

    def _is_text(self, column: Column) -> bool:
        return column.name in self.roles.categorical or not column.is_numeric

    def _check_present(self, columns: Mapping[str, Column]) -> None:
        """Raise InputError if a target column lacks a value."""
        for name, column in columns.items():
            missing = column.texts.is_null().arg_true()
            if len(missing):
                more = f" (and in {len(missing) - 1} more)" if len(missing) > 1 else ""
                path, row = self.rows.locate(int(missing[0]))
                raise InputError(f"{path}: target '{name}' has no value in row {row}{more}; fill it, or remove the row")

    def _holds_classes(self, column: Column) -> bool:
        """Return whether a single target is a class: by `task`, or texts and integers of few distinct values."""
        if self.roles.task is not None:
            return self.roles.task == "classification"
        if self._is_text(column):
            return True
        values = column.values.n_unique()
        is_class = column.is_integer and values <= _MAX_INTEGER_CLASSES
        if column.is_integer and 2 < values <= _MAX_POSSIBLE_CLASSES:
            taken, other = ("classes", "regression") if is_class else ("numbers", "classification")
            self.notes.append(
                f"target '{column.name}' has {values} different whole numbers, read as {taken}; to change that, set "
                f"--data.task {other}"
            )
        return is_class

    def _encode_classes(self, column: Column) -> Targets:
        """Return class indices, `(rows,)`, and the classes as they are written, in the order of texts or numbers."""
        if self._is_text(column):
            names = column.distinct
        else:
            import polars as pl

            column.to_array()  # checks the numbers
            values = parse_numbers(pl.Series(column.distinct), self.rows.decimal)
            names = [name for _, name in sorted(zip(values, column.distinct, strict=True))]
        if pair := equal_numbers(names):
            self.notes.append(f"target '{column.name}': '{pair[0]}' and '{pair[1]}' are different classes, as written")
        return self._match_classes(column, names)

    def _match_classes(self, column: Column, names: list[str]) -> Targets:
        matches = match_labels(column.distinct, names)
        if unknown := set(column.distinct) - matches.keys():
            row, text = next((row, text) for row, text in enumerate(column.texts) if text in unknown)
            raise InputError(
                f"{self.rows.cell(column.name, row, 'target')}: expected a class of the training "
                f"({abbreviate(names)}), got '{text}'{did_you_mean(text, names)}"
            )
        indices = category_indices(column.texts, matches, -1)
        return torch.from_numpy(indices).to(smallest_type(len(names))), names, None

    def _parse_binary(self, column: Column) -> Array | None:
        """Return a column of 0 and 1, or of true and false, as uint8; None if it holds other values."""
        if not self._is_text(column):
            values = column.to_array()
            return values.astype(np.uint8) if np.isin(values, (0, 1)).all() else None
        lower = np.array([text.lower() for text in column.texts])
        return (lower == "true").astype(np.uint8) if np.isin(lower, ("true", "false")).all() else None

    def _stack_labels(self, labels: Mapping[str, Array | None]) -> Targets:
        """Return multi-label targets, `(rows, classes)`."""
        stacked = []
        for name, column in labels.items():
            if column is None:
                raise InputError(f"{self.rows.path}: target '{name}': expected only 0 and 1, or only true and false")
            stacked.append(column)
        return torch.from_numpy(np.stack(stacked, 1)), list(labels), None

    def _stack_numbers(self, columns: Mapping[str, Column]) -> Targets:
        """Return numeric targets, `(rows, targets)`."""
        stacked = []
        for name, column in columns.items():
            if self._is_text(column):
                where = self.rows.cell(name, 0, "target")
                raise InputError(f"{where}: expected a number, got '{column.texts[0]}'")
            stacked.append(column.to_array())
        return torch.from_numpy(np.stack(stacked, 1).astype(np.float32)), None, list(columns)
