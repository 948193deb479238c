"""Batches cut from tensors in memory with one indexing call, in an order that is a pure function of seed and epoch."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

Inputs = Tensor | tuple[Tensor, ...]


class ArrayDataset(Dataset[tuple[Inputs, Tensor]]):
    """Inputs and targets in memory, each `(samples, ...)` and in its smallest type; `indices` chooses a split.

    One sample by `dataset[i]`, a whole batch by `dataset[tensor of indices]` or by `__getitems__`, which is what a
    DataLoader calls.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> None:
        self.inputs, self.targets = inputs, targets
        self.indices = torch.arange(len(targets)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | Tensor) -> tuple[Inputs, Tensor]:
        chosen = self.indices[index]
        return self.inputs[chosen], self.targets[chosen]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Inputs, Tensor]:
        return self[torch.as_tensor(indices)]


class EpochSampler(Sampler[int]):
    """The samples of one process in one epoch, as a tensor of indices.

    Shuffled, the order is a permutation drawn from (seed, epoch), and every process takes the same number of samples,
    so that all make the same number of steps: up to `num_replicas - 1` of an epoch's samples are left out. In order,
    for evaluation, no sample is left out or read twice; processes may differ by one.

    Args:
        size: Samples in the split.
        shuffle: Whether to draw an order.
        seed: Seed of the order.
        rank: Index of this process.
        num_replicas: Number of processes.
    """

    def __init__(self, size: int, shuffle: bool, seed: int = 0, rank: int = 0, num_replicas: int = 1) -> None:
        self.size, self.shuffle, self.seed = size, shuffle, seed
        self.rank, self.num_replicas = rank, num_replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning when an epoch starts."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Indices of this process in this epoch, `(len(self),)`."""
        if not self.shuffle:
            return torch.arange(self.rank, self.size, self.num_replicas)
        # Seeds of neighbouring epochs must not share streams with neighbouring seeds: (seed, epoch) -> one number.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        permutation = torch.randperm(self.size, generator=generator)
        return permutation[: len(self) * self.num_replicas][self.rank :: self.num_replicas]

    def __len__(self) -> int:
        if self.shuffle:
            return self.size // self.num_replicas
        return len(range(self.rank, self.size, self.num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())


class TensorBatchSampler(BatchSampler):
    """Cuts an `EpochSampler`'s order into batches, each a tensor of indices; no index becomes a Python number.

    A subclass of BatchSampler with its arguments, because Lightning makes it anew for prediction.
    """

    sampler: EpochSampler

    def __init__(self, sampler: EpochSampler, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        order = self.sampler.order()[: len(self) * self.batch_size]
        return iter(order.split(self.batch_size) if len(order) else ())


def whole_batch(batch: Any) -> Any:
    """Collating leaves a batch as it is: it was cut whole."""
    return batch
