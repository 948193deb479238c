"""What a report shows of the data: statistics of each split, a few inputs, and values to slice the results by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from litnets.data.core.batching import ArrayDataset, RaggedDataset
from litnets.data.core.new_samples import Split
from litnets.data.core.raw_inputs import shortest, to_json, to_npy, to_png

# Attributes of a DataModule that data.json repeats.
_FACTS = (
    "input_shape",
    "vocab_size",
    "class_names",
    "multilabel",
    "target_names",
    "channel_names",
    "look_back",
    "horizon",
)
_PATHS = ("path", "root", "data_dir")  # arguments that name the files of a DataModule

SliceValues = Mapping[str, Sequence[Any]]


class DescribesData(LightningDataModule):
    """Base class of `ArrayDataModule`: describe the data for a report. A modality overrides what it can refine."""

    splits: dict[str, Split]
    init_arguments: dict[str, Any]

    @property
    def input_kind(self) -> str:
        """What an input is: `image`, `text`, `audio`, `series` or `row`."""
        shape: tuple[int | None, ...] = self.input_shape  # type: ignore[attr-defined]
        return {1: "row", 3: "image"}.get(len(shape), "series")

    def describe_data(self) -> dict[str, Any]:
        """Return the content of data.json, as plain values: the source, what a model needs to know, and the splits.

        This reads only a limited number of inputs from files.
        """
        facts = {name: getattr(self, name, None) for name in _FACTS}
        return {
            "source": self._describe_source(),
            "kind": self.input_kind,
            **{name: value for name, value in facts.items() if value is not None},
            "splits": {part: self._describe_split(part) for part in self.splits},
        }

    def _describe_source(self) -> dict[str, Any]:
        paths = [self.init_arguments[name] for name in _PATHS if name in self.init_arguments]
        return {"datamodule": type(self).__name__, **({"path": str(paths[0])} if paths else {})}

    def _describe_split(self, part: str) -> dict[str, Any]:
        split: Any = self.splits[part]
        described: dict[str, Any] = {"samples": self.num_samples(part)}
        module: Any = self
        if module.num_classes is not None and module.class_counts is not None:
            described["class_counts"] = module.count_classes(split, module.num_classes)
        elif (names := getattr(self, "target_names", None)) is not None and len(split):
            values = split.targets[split.indices].numpy().reshape(len(split), -1)
            described["targets"] = {
                name: describe_numbers(column) for name, column in zip(names, values.T, strict=True)
            }
        if len(split) and (inputs := self.describe_inputs(part)):
            described["inputs"] = inputs
        return described

    def num_samples(self, part: str) -> int:
        """Return the number of samples of a split. Samples may be evaluated in parts, such as the tiles of images."""
        return len(self.splits[part])

    def describe_inputs(self, part: str) -> dict[str, Any]:
        """Return statistics of the inputs of a split that is not empty, as plain values."""
        split = self.splits[part]
        return {"steps": describe_numbers(split.split_lengths.numpy())} if isinstance(split, RaggedDataset) else {}

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        """Return an input as it was read, by its kind; see `litnets.data.core.raw_inputs`. Empty if it cannot be shown.

        Args:
            part: train, val or test.
            position: Position in the split.
        """
        split, values = self.splits[part], self._read_input(part, position)
        if isinstance(split, RaggedDataset):
            return {"series": to_npy(values)} if values.ndim == 2 else {}
        if values.ndim == 1:
            return {"row": to_json({str(i): value for i, value in enumerate(values.tolist())})}
        if values.ndim == 2:
            return {"series": to_npy(values)}
        return {"image": to_png(values)} if values.ndim == 3 and values.dtype == torch.uint8 else {}

    def _read_input(self, part: str, position: int) -> Tensor:
        """Return an input as it is in the batch of a dataloader, without the padding."""
        inputs, _ = self.splits[part][position]
        return inputs if isinstance(inputs, Tensor) else inputs[0]

    def baseline_inputs(self, part: str) -> list[str] | Tensor | None:
        """Return the inputs of a split for a simple method: texts, or rows of numbers `(N, features)`.

        None for inputs that have no such form. This implementation prepares rows, images and series of one length.
        """
        split = self.splits[part]
        if not isinstance(split, ArrayDataset) or not isinstance(split.inputs, Tensor):
            return None
        prepared: Tensor = self.prepare(split[torch.arange(len(split))][0])  # type: ignore[attr-defined]
        return prepared.flatten(1)

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return values of samples by which a report slices the results, such as the length of a text.

        Args:
            part: train, val or test.
            positions: Positions of the samples in the split.
        """
        split = self.splits[part]
        return {"length": split.split_lengths[positions].tolist()} if isinstance(split, RaggedDataset) else {}

    def choose_examples(self, part: str, count: int) -> list[int]:
        """Return the positions of a few samples of a split, the classes in turn, always the same ones."""
        split: Any = self.splits[part]
        order = np.random.default_rng(0).permutation(self.num_samples(part))
        module: Any = self
        is_classified = module.num_classes is not None and isinstance(split, (ArrayDataset, RaggedDataset))
        if not is_classified or split.targets.ndim != 1:
            return [int(position) for position in order[:count]]
        classes = split.targets[split.indices].numpy()[order]
        by_class = np.argsort(classes, kind="stable")
        firsts = np.searchsorted(classes[by_class], classes[by_class], "left")
        rank = np.empty(len(order), np.int64)  # of each sample in its class
        rank[by_class] = np.arange(len(order)) - firsts
        return [int(position) for position in order[np.lexsort((classes, rank))[:count]]]


def describe_numbers(values: Any) -> dict[str, float | int]:
    """Return mean, standard deviation and quantiles of an array without its missing values, as plain values.

    Example:
        >>> describe_numbers(np.array([1.0, 2.0, 3.0, np.nan]))["median"]
        2.0
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return {}
    quantiles = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    named = zip(("min", "q25", "median", "q75", "max"), quantiles, strict=True)
    values = {"mean": numbers.mean(), "std": numbers.std(), **dict(named)}
    return {name: shortest(value) for name, value in values.items()}


def sample_evenly(size: int, limit: int) -> Tensor:
    """Return `limit` evenly spaced positions below `size`, or all of them if there are no more."""
    return torch.arange(size) if size <= limit else torch.linspace(0, size - 1, limit).long()
