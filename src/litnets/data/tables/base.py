"""The base class of table DataModules: imputation, scaling and one-hot encoding."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.data_card import SliceValues
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.inputs import is_path
from litnets.data.core.new_chunks import NewChunk
from litnets.data.core.predefined_splits import fixed_splits, split_the_rest
from litnets.data.core.raw_inputs import to_json
from litnets.data.core.sample_columns import Columns
from litnets.data.core.scaling import Standardize
from litnets.data.core.splits import SplitSpec, split_indices
from litnets.data.tables.columns import Rows
from litnets.data.tables.describing import TableCells, count_missing, describe_columns, slice_columns
from litnets.data.tables.frames import TableFormat
from litnets.data.tables.memory import encode_inputs
from litnets.data.tables.new_rows import RowChunk, iter_rows
from litnets.data.tables.reading import encode_new, read_rows
from litnets.data.tables.skewness import NormalizeSkewed
from litnets.data.tables.table import (
    Encoding,
    Table,
    check_targets,
    consecutive_indices,
    digest_table,
    fit_statistics,
    map_categories,
    with_categories,
)
from litnets.errors import InputError

_CHUNK_BATCHES = 32  # number of batches that are read at once, because each read has a fixed cost


class EncodeRows(nn.Module):
    """Impute and scale the numeric columns of raw rows, and encode the categorical ones as one-hot columns.

    Args:
        statistics: Median, mean and standard deviation of each numeric column, and, with `normalize_skewed`, the
            quantiles of each skewed column.
        one_hot_indices: For each categorical column, the one-hot column of each code. The last one-hot column stands
            for missing and unseen categories and is dropped.
    """

    median: Tensor
    skewed_columns: Tensor

    def __init__(self, statistics: dict[str, Any], one_hot_indices: list[Tensor]) -> None:
        super().__init__()
        self.register_buffer("median", torch.tensor(statistics["median"]))
        self.scale = Standardize(statistics["mean"], statistics["std"])
        quantiles = statistics.get("quantiles", {})  # checkpoints of earlier versions have none
        self.register_buffer("skewed_columns", torch.tensor(list(quantiles), dtype=torch.long))
        self.normalize_skewed = NormalizeSkewed(list(quantiles.values())) if quantiles else None
        self.num_categories = [int(indices.max()) for indices in one_hot_indices]
        for number, indices in enumerate(one_hot_indices):
            self.register_buffer(f"one_hot_indices_{number}", indices)

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows `(N, columns)` as `(N, features)`."""
        numeric = rows[:, : len(self.median)]
        numeric = torch.where(numeric.isnan(), self.median, numeric)
        scaled = self.scale(numeric)
        if self.normalize_skewed is not None:
            normalized = self.normalize_skewed(numeric[:, self.skewed_columns])
            scaled = scaled.index_copy(1, self.skewed_columns, normalized)
        parts = [scaled]
        codes = rows[:, len(self.median) :].long()
        for number, size in enumerate(self.num_categories):
            columns = self.get_buffer(f"one_hot_indices_{number}")[codes[:, number]]
            parts.append(one_hot(columns, size + 1)[:, :-1].float())
        return torch.cat(parts, 1)


class TableDataModule(SplitDataModule):
    """Rows of a table, for classification or regression. A batch is `(inputs, targets)`; inputs are `(N, features)`.

    Missing numbers are filled by the median of their column; numbers are scaled to mean 0 and standard deviation 1, or
    mapped to a normal distribution (`normalize_skewed`).
    Categories are one-hot encoded; a missing or unseen category is encoded as zeros. All statistics are fitted on the
    training split and saved in checkpoints. A subclass implements `read`.

    Args:
        separator: Character between two cells of a CSV file. By default, a tab in a `.tsv` file; otherwise a comma,
            unless only a semicolon, tab or vertical bar divides the lines evenly.
        header: Whether the first line of a CSV file names the columns; if not, they are `column_1`, `column_2` ...
        decimal: Decimal separator of numbers in text, a point or a comma; the other one separates thousands. By
            default, a comma if a column is numeric only with a decimal comma, otherwise a point.
        normalize_skewed: Whether to map the numbers of skewed columns (a skewness above 1 or below -1) to a normal
            distribution by their quantiles, so that a few large values do not leave the others close together.
        predict_path: New rows for `predict`: a CSV or Parquet file with the columns of training, in any order; the
            target is optional. The training data are not needed. Unseen categories are read as missing.
            Default: the test split.
        **loading: Arguments of `SplitDataModule` and `ArrayDataModule`.

    Raises:
        InputError: There is only one class, a class has only one sample or no training sample, or a target is constant.
    """

    def __init__(
        self,
        separator: str | None = None,
        header: bool = True,
        decimal: Literal[".", ","] | None = None,
        normalize_skewed: bool = False,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.table_format = TableFormat(separator, header, decimal)
        self.normalize_skewed = normalize_skewed
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.statistics: dict[str, Any] = {}
        self._rows: Rows | None = None  # the new rows, before encoding
        self._encoding: Encoding | None = None  # of the table in memory, otherwise of the checkpoint
        self._one_hot_indices: list[Tensor] = []

    input_kind = "row"

    @abstractmethod
    def read(self) -> Table:
        """Return the complete table. Called once per process, on first use."""

    @cached_property
    def table(self) -> Table:
        return self.read()

    @property
    def trained_encoding(self) -> Encoding | None:
        """The encoding of the checkpoint that is used, or None."""
        return None if self.trained_state is None else Encoding.from_state(self.trained_state)

    def load(self) -> dict[str, ArrayDataset]:
        table = self.table
        classes = None if table.class_names is None or table.targets.ndim > 1 else table.targets
        size = len(table.targets)
        samples = Fingerprint.of_rows(digest_table(table), [len(indices) for indices in table.parts.values()])

        def split(pool: Tensor, spec: SplitSpec) -> Sequence[Tensor]:
            groups = None if table.groups is None else table.groups[pool]
            return split_indices(None if classes is None else classes[pool], len(pool), spec, groups)

        def propose() -> list[Tensor]:
            return split_the_rest(table.parts, size, self.split_spec, split)

        splits = self.assign_splits(samples, propose, fixed_splits(table.parts, size, self.split_spec))
        check_targets(table, splits["train"])
        if self._encoding is not None:  # restored to read new rows: encode those of the splits in the same way
            self.table = table = with_categories(table, self._encoding.categories)
        return {name: ArrayDataset(table.inputs, table.targets, indices) for name, indices in splits.items()}

    def describe_data(self) -> dict[str, Any]:
        """Return the content of data.json, with the columns of the table."""
        return {**super().describe_data(), "columns": describe_columns(self.table, self.splits["train"].indices)}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return the number of missing values in each column that has any."""
        return {"missing": count_missing(self.table, self.splits[part].indices)}

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        cells = TableCells(self.table, self.splits[part].indices[position : position + 1])
        return {"row": to_json({name: cells.cells(name)[0] for name in cells.names})}

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the cells of the columns of few distinct values."""
        return slice_columns(self.table, self.splits[part].indices[positions])

    def load_predict(self, path: Path) -> ArrayDataset:
        self._rows = read_rows([path], self.table_format)
        rows = encode_new(self._rows, self._known_encoding())
        return ArrayDataset(rows, torch.zeros(len(rows)))

    def iter_new(self, path: Path, batch_size: int) -> Iterator[NewChunk]:
        """Yield the rows of a CSV or Parquet file, after a check that no column of training is missing."""
        encoding = self._known_encoding()
        for rows in iter_rows(path, self.table_format, _CHUNK_BATCHES * batch_size, encoding.required):
            yield NewChunk(rows.items, rows.names, partial(self._read_rows, rows))

    def _read_rows(self, rows: RowChunk, items: list[Any]) -> tuple[ArrayDataset, Columns]:
        self._rows = rows.read(items)
        inputs = encode_new(self._rows, self._known_encoding())
        columns = {"row": [str(number) for number, _ in items], **self.carried_columns()}
        return ArrayDataset(inputs, torch.zeros(len(inputs))), columns

    def load_labeled(self, path: Path) -> ArrayDataset:
        raise InputError(f"{type(self).__name__} cannot read new rows with targets")

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        """Return new rows from a DataFrame, a dict or list of dicts (one per row), a CSV or Parquet file, or an array.

        Columns are found by name, in any order; the target is optional. An array `(N, columns)` has the columns of
        training except the target; all of them must be numeric.
        """
        if is_path(inputs):
            return self.load_predict(Path(inputs))
        rows = encode_inputs(inputs, self._known_encoding())
        return ArrayDataset(rows, torch.zeros(len(rows)))

    def describe_reading(self) -> dict[str, Any]:
        """Return the columns of a raw row: numbers, the parts of dates, and categories, which are indices into a list.

        A missing number is NaN, and a missing or unseen category the length of its list.
        """
        encoding = self._known_encoding()
        categories = dict(zip(encoding.categorical, encoding.categories, strict=True))
        dates = {name: asdict(date_format) for name, date_format in encoding.dates.items()}
        return {"kind": "row", "numbers": encoding.numeric, "dates": dates, "categories": categories}

    def _known_encoding(self) -> Encoding:
        """Return the encoding of the checkpoint, or of the table if no checkpoint was loaded."""
        if self._encoding is None:
            self.ensure_setup()
        assert self._encoding is not None
        return self._encoding

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.splits:
            train = self.splits["train"].indices
            self._set_statistics(self.statistics or fit_statistics(self.table, train, self.normalize_skewed))

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics of the training split, so that a checkpoint encodes rows as in training."""
        assert self._encoding is not None
        return {**self.statistics, **self._encoding.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        trained = Encoding.from_state(state_dict)
        self.trained_state = state_dict
        if self.predict_path is None or self.splits:
            if not trained.matches(self.table.encoding):
                self._read_again()
            for name in ("columns", "class_names"):
                actual, expected = getattr(self.table, name), getattr(trained, name)
                if actual != expected:
                    raise InputError(f"the data have the {name} {actual}; the checkpoint was trained on {expected}")
            self._encoding = self.table.encoding
        else:
            self._encoding = trained
        names = ("median", "mean", "std", "categories", "quantiles")  # quantiles only with `normalize_skewed`
        self._set_statistics({name: state_dict[name] for name in names if name in state_dict})

    def _read_again(self) -> None:
        """Read the table again, in the encoding of the checkpoint."""
        is_set_up, self.splits, self.statistics, self._encoding = bool(self.splits), {}, {}, None
        del self.table
        if is_set_up:
            self.setup()

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        self.setup()
        return (self.table.num_numeric + sum(map(len, self.statistics["categories"])),)

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        return None if self.table.class_names is None else len(self.table.class_names)

    @property
    def class_names(self) -> list[str] | None:
        return self.table.class_names

    @property
    def multilabel(self) -> bool:
        """Whether the targets are multi-label."""
        return self.num_classes is not None and self.table.targets.ndim > 1

    @property
    def num_targets(self) -> int | None:
        return None if self.table.target_names is None else len(self.table.target_names)

    @property
    def target_names(self) -> list[str] | None:
        return self.table.target_names

    @property
    def target_mean(self) -> list[float] | None:
        return None if self.num_targets is None else self._training_targets().mean(0).tolist()

    @property
    def target_std(self) -> list[float] | None:
        return None if self.num_targets is None else self._training_targets().std(0, correction=0).tolist()

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        rows, targets = batch
        return self.prepare(rows), targets if targets.is_floating_point() else targets.long()

    def preparation(self) -> EncodeRows:
        return EncodeRows(self.statistics, self._one_hot_indices)

    def feature_groups(self) -> dict[str, list[int]]:
        columns = self._known_encoding().columns
        categories: list[list[str]] = self.statistics["categories"]
        sizes = [1] * (len(columns) - len(categories)) + [len(texts) for texts in categories]
        return consecutive_indices(dict(zip(columns, sizes, strict=True)))

    def raw_columns(self) -> dict[str, list[int]]:
        return self._known_encoding().input_indices

    def _set_statistics(self, statistics: dict[str, Any]) -> None:
        """Use these statistics, and map the categories of the table to those of the training split."""
        self.statistics = statistics
        self._preparation = None  # it may have been built with another encoding
        if self.splits:
            self._encoding = self.table.encoding
        assert self._encoding is not None
        self._one_hot_indices = map_categories(self._encoding.categories, statistics["categories"])

    def _training_targets(self) -> Tensor:
        self.setup()
        return self.table.targets[self.splits["train"].indices].double()
