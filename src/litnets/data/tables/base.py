"""Tables: four classic ones that come inside scikit-learn, and your own CSV or Parquet file."""

from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.splits import split_indices
from litnets.data.tables.reading import TableFile
from litnets.data.tables.table import Table, check_targets, digest_table, statistics_of
from litnets.errors import InputError

_SCALING = ("median", "mean", "std")


class TableDataModule(SplitDataModule):
    """Rows of a table: numbers with their missing ones filled by the median and scaled to mean 0 and standard deviation
    1, categories as one-hot columns; medians, means, deviations and categories are those of the training split. A
    category that is missing, or that training has not seen, has no hot column.

    Args:
        separator: Between two cells of a CSV (default: a comma, or a tab in a `.tsv`).
        predict_path: A file of new rows for `predict`, CSV or Parquet, with the columns that were trained on, in any
            order, and with or without the target. The file of the training is not read then. A text that training has
            not seen is read as missing.
        **loading: Arguments of `SplitDataModule` and `ArrayDataModule`.

    Raises:
        InputError: Targets of which nothing can be learnt: one class only, a class of one sample or without a sample in
            the training split, numbers that are all the same.
    """

    def __init__(
        self,
        separator: str | None = None,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.separator = separator
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.statistics: dict[str, Any] = {}
        self.columns: list[str] = []
        self.texts: list[list[str]] = []
        self._hot: list[Tensor] = []

    @abstractmethod
    def read(self) -> Table:
        """The whole table; called once in each process, when it is first asked for."""

    @cached_property
    def table(self) -> Table:
        return self.read()

    def load(self) -> dict[str, ArrayDataset]:
        table = self.table
        classes = None if table.class_names is None or table.targets.ndim > 1 else table.targets
        samples = Fingerprint.of_rows(digest_table(table))
        splits = self.assign_splits(samples, lambda: split_indices(classes, len(table.targets), self.split_spec))
        check_targets(table, splits["train"])
        return {name: ArrayDataset(table.inputs, table.targets, indices) for name, indices in splits.items()}

    def load_predict(self, path: Path) -> ArrayDataset:
        if not self.statistics:  # no checkpoint
            self.ensure_setup()
        rows = TableFile(path, self.separator).read_new(self.columns, self.texts)
        return ArrayDataset(rows, torch.zeros(len(rows)))

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.splits:
            self._use(self.statistics or statistics_of(self.table, self.splits["train"].indices))

    def state_dict(self) -> dict[str, Any]:
        """What was learnt from the training split, so that a checkpoint's network sees inputs as in training."""
        return {**self.statistics, "columns": self.columns, "class_names": self.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            for name, ours in (("columns", self.table.columns), ("class_names", self.table.class_names)):
                if (known := state_dict[name]) != ours:
                    raise InputError(f"these data have the {name} {ours}; the checkpoint was trained on {known}")
        self.columns = state_dict["columns"]
        self._use({name: state_dict[name] for name in ("median", "mean", "std", "categories")})

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        self.setup()
        return (self.table.numbers + sum(map(len, self.statistics["categories"])),)

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        return None if self.table.class_names is None else len(self.table.class_names)

    @property
    def class_names(self) -> list[str] | None:
        return self.table.class_names

    @property
    def multilabel(self) -> bool:
        """Whether a target is one flag for each class."""
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

    def prepare(self, rows: Tensor) -> Tensor:
        """Rows as they are in the file `(N, columns)` as the network wants them `(N, features)`."""
        median, mean, std = (torch.tensor(self.statistics[name], device=rows.device) for name in _SCALING)
        numbers = rows[:, : len(median)]
        parts = [(torch.where(numbers.isnan(), median, numbers) - mean) / std]
        codes = rows[:, len(median) :].long()
        for code, hot, known in zip(codes.T, self._hot, self.statistics["categories"], strict=True):
            # The last place is for what is missing or unknown, and is cut off.
            parts.append(one_hot(hot.to(rows.device)[code], len(known) + 1)[:, :-1].float())
        return torch.cat(parts, 1)

    def _use(self, statistics: dict[str, Any]) -> None:
        """Take over statistics: from each text of the file to its place among the known categories."""
        self.statistics = statistics
        if self.splits:
            self.columns, self.texts = self.table.columns, self.table.texts
        else:
            self.texts = statistics["categories"]
        self._hot = []
        for texts, known in zip(self.texts, statistics["categories"], strict=True):
            place = {text: i for i, text in enumerate(known)}
            self._hot.append(torch.tensor([place.get(text, len(known)) for text in [*texts, None]]))

    def _training_targets(self) -> Tensor:
        self.setup()
        return self.table.targets[self.splits["train"].indices].double()
