"""Record what the tested checkpoint predicts for each sample of the test and validation splits."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from litnets.errors import InputError
from litnets.internals import transfer_hook
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions, build_frame, choose_samples
from litnets.safety.escaping import printable
from litnets.tracking.sample_order import fixed_order


class RecordPredictions(Callback):
    """Write test_predictions.parquet from the outputs of a test, and then val_predictions.parquet.

    For the latter, the validation split is evaluated again, with the tested weights and the forward pass of a test
    (`test_forward`). Nothing is recorded if the module's `sample_results` is empty, or if the loader's order is random.

    Args:
        run: The run.
        locks: Whether to lock the run folder while writing. If another process holds the lock, nothing is written.

    Attributes:
        has_recorded: Whether this process has written the predictions of the last test.
    """

    def __init__(self, run: Run, locks: bool = False) -> None:
        self.run, self.locks = run, locks
        self.has_recorded = False
        self._test: _SampleResults | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task: Any = pl_module
        self.has_recorded = False
        self._test = _SampleResults.of(trainer.test_dataloaders, task) if hasattr(task, "output_observer") else None
        if self._test is not None:
            task.output_observer = self._test.add

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        test, self._test = self._test, None
        if test is None:
            return
        task: Any = pl_module
        task.output_observer = None
        records = {"test": test, "val": self._validate(trainer, task)}
        gathered = {part: None if results is None else results.gather(trainer) for part, results in records.items()}
        if not trainer.is_global_zero:
            return
        try:
            if self.locks:
                self.run.lock()
            for part in gathered:
                self.run.recorded_predictions(part).unlink(missing_ok=True)  # They belong to an earlier test.
            for part, results in gathered.items():
                if results is not None:
                    self._write(self.run.recorded_predictions(part), part, results, trainer, task)
                    self.has_recorded = True
        except (InputError, OSError) as error:
            print(printable(f"note: the predictions are not recorded: {error}"))
        finally:
            if self.locks:
                self.run.unlock()

    def _validate(self, trainer: Trainer, module: Any) -> "_SampleResults | None":
        """Return the results on the validation split, or None if there is nothing to record."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        split = getattr(datamodule, "splits", {}).get("val", ())
        limit: Any = trainer.limit_val_batches
        if not limit or len(split) < trainer.world_size:
            return None
        loader = datamodule.val_dataloader()
        results = _SampleResults.of(loader, module)
        if results is None:
            return None
        for batch in islice(loader, limit if isinstance(limit, int) else int(limit * len(loader))):
            inputs, targets = _transfer(trainer, batch)
            with trainer.precision_plugin.test_step_context():
                results.add(module.test_forward(inputs), targets)
        return results

    def _write(self, path: Path, part: str, results: "_Gathered", trainer: Trainer, module: Any) -> None:
        identify = getattr(trainer.datamodule, "split_columns", None)  # type: ignore[attr-defined]
        description: dict[str, Any] = module.describe_results()
        class_names = description.get("class_names")
        names = class_names or description.get("target_names") or description.get("channel_names") or ()
        frame = build_frame(
            results.indices,
            {} if identify is None else identify(part, torch.from_numpy(results.indices)),
            results.columns,
            names,
            None if description.get("multilabel") else class_names,
            _slice_values(trainer.datamodule, part, results.indices),  # type: ignore[attr-defined]
        )
        recorded = len(results.indices)
        counts = {"split": part, "samples": results.samples, "recorded": recorded}
        RecordedPredictions(frame, {**counts, **description}).save(path)
        if recorded < results.samples:
            print(printable(f"{path.name}: {recorded:,} of {results.samples:,} samples, chosen at random"))


def has_recorded(trainer: Trainer) -> bool:
    """Return whether the last test of a Trainer wrote its predictions, in this process."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, RecordPredictions) and callback.has_recorded for callback in callbacks)


def _slice_values(datamodule: Any, part: str, indices: NDArray[np.int64]) -> Mapping[str, Sequence[Any]]:
    """Return the values of samples to slice the results by.

    An error is reported in one line and not raised, because the predictions are more important.
    """
    if not hasattr(datamodule, "slice_values"):
        return {}
    try:
        values: Mapping[str, Sequence[Any]] = datamodule.slice_values(part, torch.from_numpy(indices))
    except Exception as error:
        print(printable(f"note: {part} is recorded without values to slice by: {type(error).__name__}: {error}"))
        return {}
    return values


class _Gathered(NamedTuple):
    """The results of all processes, in the order of the samples.

    Args:
        samples: The number of evaluated samples.
        indices: The position of each recorded sample in the split.
        columns: The results of the recorded samples, by name.
    """

    samples: int
    indices: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]


# Indices of items, and their columns by name.
_Recorded = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]


class _SampleResults:
    """The results of the samples that this process evaluates.

    Args:
        size: Number of samples in the split.
        order: Indices of the items in each batch.
        module: The task, whose `sample_results` are collected.
        positions: The sample that each item is a part of, such as the image of a tile; None if an item is a sample.
    """

    def __init__(
        self, size: int, order: Sequence[Any], module: Any, positions: NDArray[np.int64] | None = None
    ) -> None:
        self.size = size
        self.order = iter(order)
        self.module = module
        self.positions = positions
        self._evaluated = np.zeros(size, bool)
        self._results: _Columns | None = None

    @classmethod
    def of(cls, loader: Any, module: Any) -> "_SampleResults | None":
        """Return a collector for the batches of a loader, or None if the order of its samples is unknown."""
        order = fixed_order(loader)
        if order is None:
            return None
        positions = getattr(loader.dataset, "sample_positions", None)
        if positions is None:
            return cls(len(loader.dataset), order, module)
        return cls(int(positions.max()) + 1, order, module, positions.numpy())

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the next batch."""
        results = {name: values.cpu().numpy() for name, values in self.module.sample_results(outputs, targets).items()}
        indices = np.asarray(next(self.order), np.int64)
        samples = indices if self.positions is None else self.positions[indices]
        self._evaluated[samples] = True
        if not results:
            return
        if self._results is None:
            self._results = _Columns.like(results, self.size, self.positions)
        self._results.set(indices, results)

    def part(self) -> tuple[NDArray[np.bool_], _Recorded | None]:
        """Return whether this process evaluated each sample, and the results of its items."""
        return self._evaluated, None if self._results is None else self._results.recorded()

    def gather(self, trainer: Trainer) -> _Gathered | None:
        """Return the results of all processes, or None if there are no results. Every process must call this."""
        parts = [self.part()]
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, parts[0])
            parts = gathered
        recorded = [results for _, results in parts if results is not None]
        if not recorded:
            return None
        # A DistributedSampler repeats samples so that all processes get equally many. Each is recorded once.
        indices, first = np.unique(np.concatenate([rows for rows, _ in recorded]), return_index=True)
        columns = {name: np.concatenate([one[name] for _, one in recorded])[first] for name in recorded[0][1]}
        if self.positions is not None:
            indices, starts = np.unique(self.positions[indices], return_index=True)
            columns = {name: np.add.reduceat(values, starts) for name, values in columns.items()}
        samples = np.any([evaluated for evaluated, _ in parts], 0).sum()
        return _Gathered(int(samples), indices, self.module.finish_results(columns))


class _Columns:
    """Arrays with a row for each item of a split that is to be recorded.

    The arrays are allocated once. If small arrays of each batch were kept instead, they would fragment the memory that
    the batches free, and the process would grow by about a batch of inputs with each batch.

    Args:
        is_chosen: Whether each item of the split is to be recorded, `(N,)`.
        arrays: The columns by name, with a row for each chosen item.
    """

    def __init__(self, is_chosen: NDArray[np.bool_], arrays: dict[str, NDArray[Any]]) -> None:
        self.is_chosen = is_chosen
        self.arrays = arrays
        self._rows = np.cumsum(is_chosen) - 1
        self._is_set = np.zeros(int(is_chosen.sum()), bool)

    @classmethod
    def like(cls, results: Mapping[str, NDArray[Any]], size: int, positions: NDArray[np.int64] | None) -> "_Columns":
        """Return empty columns with the types and shapes of the results of the first batch.

        Args:
            results: The results of the batch.
            size: Number of samples in the split.
            positions: The sample of each item, if a sample is evaluated in several items.
        """
        rows_per_sample = max(values.shape[1] if values.ndim == 3 else 1 for values in results.values())
        bytes_per_item = sum(values.nbytes / len(values) for values in results.values())
        items_per_sample = 1 if positions is None else len(positions) / size
        is_chosen = choose_samples(size, rows_per_sample, bytes_per_item * items_per_sample)
        if positions is not None:
            is_chosen = is_chosen[positions]
        number = int(is_chosen.sum())
        return cls(is_chosen, {n: np.empty((number, *v.shape[1:]), v.dtype) for n, v in results.items()})

    def set(self, indices: NDArray[np.int64], results: Mapping[str, NDArray[Any]]) -> None:
        """Store the results of the items with the given indices."""
        chosen = self.is_chosen[indices]
        rows = self._rows[indices[chosen]]
        for name, values in results.items():
            self.arrays[name][rows] = values[chosen]
        self._is_set[rows] = True

    def recorded(self) -> _Recorded:
        """Return the indices of the items that were stored, and their columns."""
        indices = np.flatnonzero(self.is_chosen)[self._is_set]
        return indices, {name: values[self._is_set] for name, values in self.arrays.items()}


def _transfer(trainer: Trainer, batch: Any) -> Any:
    """Move a batch to the device and prepare it, as Lightning does before a step."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = transfer_hook(trainer, "on_before_batch_transfer")(batch, 0)
    batch = transfer_hook(trainer, "transfer_batch_to_device")(batch, trainer.strategy.root_device, 0)
    return transfer_hook(trainer, "on_after_batch_transfer")(batch, 0)
