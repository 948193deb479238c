"""Batches cut from tensors in memory with one indexing call, in an order that is a pure function of seed and epoch."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

Inputs = Tensor | tuple[Tensor, ...]


def smallest_type(size: int) -> torch.dtype:
    """The smallest type that holds the whole numbers below `size`, such as classes or tokens."""
    return torch.uint8 if size <= 2**8 else torch.int16 if size <= 2**15 else torch.int32


def gather(values: Tensor, chosen: Tensor) -> Tensor:
    """`values[chosen]` along the first dimension, for a tensor or for what is read from files as if it were one."""
    if isinstance(values, Tensor) and chosen.ndim == 1:
        return values.index_select(0, chosen)  # copied row by row instead of value by value
    return values[chosen]


def length_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Return a mask `(N, num_steps)` that is True for the steps of each sequence and False for its padding.

    Args:
        lengths: Number of steps of each sequence, `(N,)`.
        num_steps: Number of steps that sequences are padded to.
    """
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(1)


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
        chosen = gather(self.indices, index) if isinstance(index, Tensor) else self.indices[index]
        return gather(self.inputs, chosen), gather(self.targets, chosen)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Inputs, Tensor]:
        return self[torch.as_tensor(indices)]


class RaggedDataset(Dataset[tuple[Inputs, Tensor]]):
    """Sequences of different lengths in memory, one behind the other; a batch is padded to its own longest one.

    A batch is `((values, lengths), targets)`: values `(N, T, ...)`, zero behind each sequence's end, lengths `(N,)`.

    Args:
        values: All steps of all sequences, `(steps, ...)`.
        lengths: Steps of each sequence, `(sequences,)`, each at least 1; together all of `values`.
        targets: One for each sequence.
        indices: The sequences of the split; None for all.
    """

    def __init__(self, values: Tensor, lengths: Tensor, targets: Tensor, indices: Tensor | None = None) -> None:
        self.values, self.lengths, self.targets = values, lengths, targets
        self.starts = lengths.cumsum(0) - lengths
        self.indices = torch.arange(len(targets)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | Tensor) -> tuple[Inputs, Tensor]:
        chosen = self.indices[index]
        lengths, starts = self.lengths[chosen], self.starts[chosen]
        if chosen.ndim == 0:
            return (self.values[starts : starts + lengths], lengths), self.targets[chosen]
        num_steps = int(lengths.max())
        mask = length_mask(lengths, num_steps)  # (N, T)
        positions = torch.where(mask, starts.unsqueeze(1) + torch.arange(num_steps), 0)
        values = self.values.index_select(0, positions.flatten()).unflatten(0, positions.shape)  # (N, T, ...)
        values[~mask] = 0
        return (values, lengths), self.targets[chosen]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Inputs, Tensor]:
        return self[torch.as_tensor(indices)]

    @property
    def split_lengths(self) -> Tensor:
        """Steps of each sequence of the split, `(len(self),)`."""
        return self.lengths[self.indices]


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

    @property
    def epoch_seed(self) -> int:
        """(seed, epoch) as one number, so that neighbouring epochs share no stream with neighbouring seeds."""
        return (self.seed * 1_000_003 + self.epoch) % 2**63

    def order(self) -> Tensor:
        """Indices of this process in this epoch, `(len(self),)`."""
        if not self.shuffle:
            return torch.arange(self.size)[self.rank :: self.num_replicas]
        generator = torch.Generator().manual_seed(self.epoch_seed)
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

    Args:
        sampler: The order; another one than `EpochSampler`, such as the DistributedSampler that Lightning puts here
            when it is not told to leave that to the data, is read index by index.
        batch_size: Samples in a batch.
        drop_last: Leave out a last batch that is not full.
        lengths: Steps of each sample of the split: batches are then made of sequences of like length, which are padded
            little. Shuffled, sequences are sorted within stretches of 50 batches of the order and the batches are
            shuffled, so that an epoch stays a pure function of (seed, epoch); in order, all are sorted, and the
            batches then come in one mixed order, so that the first of them are not the shortest sequences.
        start: Epoch and batch to begin with, where training goes on: the batches before it in that epoch are left out,
            and `len` stays.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        drop_last: bool,
        lengths: Tensor | None = None,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.lengths = lengths
        self.start = start
        if isinstance(sampler, EpochSampler) and start != (0, 0):
            # Workers ask for their first batches before Lightning says which epoch it is (#21938).
            sampler.set_epoch(start[0])

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        skipped = self.start[1] if getattr(self.sampler, "epoch", None) == self.start[0] else 0
        return islice(self._batches(), skipped, None)

    def _batches(self) -> Iterator[Tensor]:
        sampler = self.sampler
        order = sampler.order() if isinstance(sampler, EpochSampler) else torch.tensor(list(sampler))
        order = order[: len(self) * self.batch_size]
        if not len(order):
            return iter(())
        if self.lengths is None:
            return iter(order.split(self.batch_size))
        seed = sampler.epoch_seed if isinstance(sampler, EpochSampler) and sampler.shuffle else None
        stretch = len(order) if seed is None else 50 * self.batch_size
        batches = [
            batch
            for pool in order.split(stretch)
            for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        ]
        generator = torch.Generator().manual_seed(0 if seed is None else seed)
        return iter([batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()])


def identity_collate(batch: Any) -> Any:
    """Collating leaves a batch as it is: it was cut whole."""
    return batch


class BatchLoader(DataLoader[tuple[Inputs, Tensor]]):
    """A DataLoader of batches that are cut whole. Without workers, some batches of a tensor in memory are cut at once
    and handed out one by one: of small ones the call costs more than what it copies.
    """

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:  # type: ignore[override]
        dataset = self.dataset
        if self.num_workers or type(dataset) is not ArrayDataset or not isinstance(dataset.inputs, Tensor):
            return super().__iter__()
        return _iter_chunked(dataset, iter(self.batch_sampler))  # type: ignore[arg-type]


# Bytes of inputs that are cut at once; they stay in a processor's cache until they are used.
_AT_ONCE = 2**22


def _iter_chunked(dataset: ArrayDataset, batches: Iterator[Tensor]) -> Iterator[tuple[Inputs, Tensor]]:
    assert isinstance(dataset.inputs, Tensor)
    size = dataset.inputs[:1].nbytes
    for first in batches:
        room = _AT_ONCE // max(len(first) * size, 1)
        chosen = [first, *islice(batches, max(room - 1, 0))]
        inputs, targets = dataset[torch.cat(chosen)]
        assert isinstance(inputs, Tensor)
        sizes = [len(batch) for batch in chosen]
        for one, its in zip(inputs.split(sizes), targets.split(sizes), strict=True):
            # A copy, as a product of matrices rounds otherwise where its input lies otherwise, and what is cut together
            # is other batches in a training that is gone on with.
            yield one.clone(), its.clone()
