"""Batches indexed from tensors in memory in one call, in an order that is a pure function of seed and epoch."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

Inputs = Tensor | tuple[Tensor, ...]


def smallest_type(size: int) -> torch.dtype:
    """Return the smallest dtype that holds the integers in [0, size), such as classes or tokens."""
    return torch.uint8 if size <= 2**8 else torch.int16 if size <= 2**15 else torch.int32


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """Return `values[indices]` along the first dimension, for a tensor or an object that is indexed like one."""
    if isinstance(values, Tensor) and indices.ndim == 1:
        return values.index_select(0, indices)  # copies rows, where indexing copies single values
    return values[indices]


def length_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Return a mask `(N, num_steps)` that is True for the steps of each sequence and False for its padding.

    Args:
        lengths: Number of steps of each sequence, `(N,)`.
        num_steps: Number of steps that sequences are padded to.
    """
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(1)


class ArrayDataset(Dataset[tuple[Inputs, Tensor]]):
    """Inputs and targets in memory, each `(samples, ...)` and in its smallest dtype.

    `dataset[i]` is one sample. `dataset[indices]`, with a tensor of indices, is a batch, and so is the result of
    `__getitems__`, which a DataLoader calls.

    Args:
        inputs: Inputs of all samples, `(samples, ...)`.
        targets: Targets of all samples, `(samples, ...)`.
        indices: Indices of the samples in the split; None for all.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, indices: Tensor | None = None) -> None:
        self.inputs, self.targets = inputs, targets
        self.indices = torch.arange(len(targets)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | Tensor) -> tuple[Inputs, Tensor]:
        samples = gather(self.indices, index) if isinstance(index, Tensor) else self.indices[index]
        return gather(self.inputs, samples), gather(self.targets, samples)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Inputs, Tensor]:
        return self[torch.as_tensor(indices)]


class RaggedDataset(Dataset[tuple[Inputs, Tensor]]):
    """Sequences of different lengths in memory, concatenated. A batch is padded to its longest sequence.

    A batch is `((values, lengths), targets)`, with `values` `(N, T, ...)`, zero in the padding, and `lengths` `(N,)`.

    Args:
        values: All steps of all sequences, `(steps, ...)`.
        lengths: Number of steps of each sequence, `(sequences,)`, at least 1 and in total `len(values)`.
        targets: Target of each sequence, `(sequences, ...)`.
        indices: Indices of the sequences in the split; None for all.
    """

    def __init__(self, values: Tensor, lengths: Tensor, targets: Tensor, indices: Tensor | None = None) -> None:
        self.values, self.lengths, self.targets = values, lengths, targets
        self.starts = lengths.cumsum(0) - lengths
        self.indices = torch.arange(len(targets)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | Tensor) -> tuple[Inputs, Tensor]:
        samples = self.indices[index]
        lengths, starts = self.lengths[samples], self.starts[samples]
        if samples.ndim == 0:
            return (self.values[starts : starts + lengths], lengths), self.targets[samples]
        num_steps = int(lengths.max())
        mask = length_mask(lengths, num_steps)  # (N, T)
        positions = torch.where(mask, starts.unsqueeze(1) + torch.arange(num_steps), 0)
        values = self.values.index_select(0, positions.flatten()).unflatten(0, positions.shape)  # (N, T, ...)
        values[~mask] = 0
        return (values, lengths), self.targets[samples]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Inputs, Tensor]:
        return self[torch.as_tensor(indices)]

    @property
    def split_lengths(self) -> Tensor:
        """Number of steps of each sequence of the split, `(len(self),)`."""
        return self.lengths[self.indices]


class EpochSampler(Sampler[int]):
    """Sampler of one process, with the order of an epoch as a tensor of indices.

    With `shuffle`, the order is a random permutation seeded by (seed, epoch). Every process gets the same number of
    samples, so that all make the same number of steps, and up to `num_replicas - 1` samples of an epoch are dropped.
    Without `shuffle`, as in evaluation, every sample is read exactly once, and processes may differ by one sample.

        sampler = EpochSampler(10, shuffle=True, seed=0)
        sampler.set_epoch(3)
        sampler.order()  # (10,)

    Args:
        size: Number of samples in the split.
        shuffle: Whether to shuffle the samples in every epoch.
        seed: Seed of the order.
        rank: Rank of this process.
        num_replicas: Number of processes.
    """

    def __init__(self, size: int, shuffle: bool, seed: int = 0, rank: int = 0, num_replicas: int = 1) -> None:
        self.size, self.shuffle, self.seed = size, shuffle, seed
        self.rank, self.num_replicas = rank, num_replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Lightning calls this when an epoch starts."""
        self.epoch = epoch

    @property
    def epoch_seed(self) -> int:
        """One seed from (seed, epoch), such that adjacent seeds and epochs never use the same random stream."""
        return (self.seed * 1_000_003 + self.epoch) % 2**63

    def order(self) -> Tensor:
        """Return the indices of this process in this epoch, `(len(self),)`."""
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
    """Splits the order of an `EpochSampler` into batches, each a tensor of indices instead of a list of integers.

    With `lengths`, a batch holds sequences of similar length, which need little padding. If the sampler shuffles, the
    sequences are sorted within pools of 50 batches and the batches are shuffled, so that an epoch stays a pure function
    of (seed, epoch). Otherwise all sequences are sorted, and the batches come in one fixed random order, so that the
    first batches are not the shortest sequences.

    Args:
        sampler: The order. A sampler other than `EpochSampler`, such as the DistributedSampler that Lightning inserts
            by default, is read index by index.
        batch_size: Samples in a batch.
        drop_last: Drop a last batch that is not full.
        lengths: Number of steps of each sample of the split, `(samples,)`.
        start: Epoch and batch to start at, to resume a run. The earlier batches of that epoch are skipped; `len` does
            not change.
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
            # Workers prefetch their first batches before Lightning calls set_epoch (Lightning issue #21938).
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
        pool_size = len(order) if seed is None else 50 * self.batch_size
        batches = [
            batch
            for pool in order.split(pool_size)
            for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        ]
        generator = torch.Generator().manual_seed(0 if seed is None else seed)
        return iter([batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()])


def identity_collate(batch: Any) -> Any:
    """Return a batch unchanged. It is indexed in one call, so nothing has to be collated."""
    return batch


class BatchLoader(DataLoader[tuple[Inputs, Tensor]]):
    """A DataLoader whose batches are indexed in one call each.

    Without workers, several batches of a tensor in memory are indexed together and then returned one by one, because
    for small batches the overhead of the call exceeds the cost of the copy.
    """

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:  # type: ignore[override]
        dataset = self.dataset
        if self.num_workers or type(dataset) is not ArrayDataset or not isinstance(dataset.inputs, Tensor):
            return super().__iter__()
        return _iter_chunked(dataset, iter(self.batch_sampler))  # type: ignore[arg-type]


# Bytes of inputs that are indexed together, few enough to stay in the CPU cache until they are used.
_CHUNK_BYTES = 2**22


def _iter_chunked(dataset: ArrayDataset, batches: Iterator[Tensor]) -> Iterator[tuple[Inputs, Tensor]]:
    """Index several batches of a dataset at once and yield them one by one."""
    assert isinstance(dataset.inputs, Tensor)
    sample_bytes = dataset.inputs[:1].nbytes
    for first in batches:
        batches_per_chunk = _CHUNK_BYTES // max(len(first) * sample_bytes, 1)
        chunk = [first, *islice(batches, max(batches_per_chunk - 1, 0))]
        inputs, targets = dataset[torch.cat(chunk)]
        assert isinstance(inputs, Tensor)
        sizes = [len(batch) for batch in chunk]
        for batch_inputs, batch_targets in zip(inputs.split(sizes), targets.split(sizes), strict=True):
            # Copy: the rounding of a matrix product depends on the memory layout of its input, and after a resume the
            # chunks start at other batches.
            yield batch_inputs.clone(), batch_targets.clone()
