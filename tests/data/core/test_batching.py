from itertools import chain, combinations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from litnets.data.core.batching import (
    ArrayDataset,
    BatchLoader,
    EpochSampler,
    RaggedDataset,
    TensorBatchSampler,
    identity_collate,
    length_mask,
)


def dataset(size: int = 10, indices: Tensor | None = None) -> ArrayDataset:
    inputs = torch.arange(size * 6, dtype=torch.uint8).view(size, 1, 2, 3)
    return ArrayDataset(inputs, torch.arange(size, dtype=torch.uint8) % 3, indices)


def orders(size: int, shuffle: bool, num_replicas: int, seed: int = 0, epoch: int = 0) -> list[list[int]]:
    """The order of each process."""
    samplers = [EpochSampler(size, shuffle, seed, rank, num_replicas) for rank in range(num_replicas)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@pytest.mark.parametrize("indices", [None, torch.tensor([7, 1, 4, 0])])
def test_a_batch_equals_its_samples_one_by_one(indices: Tensor | None) -> None:
    data = dataset(indices=indices)
    chosen = [2, 0, 3, 3]
    one_by_one = [data[i] for i in chosen]
    for inputs, targets in (data[torch.tensor(chosen)], data.__getitems__(chosen)):
        assert torch.equal(inputs, torch.stack([x for x, _ in one_by_one]))
        assert torch.equal(targets, torch.stack([y for _, y in one_by_one]))
        assert inputs.dtype == torch.uint8  # the smallest dtype, until it is on the device


def test_a_split_has_the_samples_of_its_indices() -> None:
    data = dataset(indices=torch.tensor([7, 1]))
    assert len(data) == 2
    assert torch.equal(data[0][0], dataset()[7][0])
    with pytest.raises(IndexError):
        data[2]


def test_a_plain_dataloader_indexes_batches_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ArrayDataset, "__getitem__")  # indexing single samples would fail
    calls: list[list[int]] = []
    monkeypatch.setattr(
        ArrayDataset, "__getitems__", lambda self, i: (calls.append(i), (self.inputs[i], self.targets[i]))[1]
    )
    batches = list(DataLoader(dataset(), batch_size=4, collate_fn=identity_collate))
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([x for x, _ in batches]), dataset().inputs)


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (1, 0), (2**40, 7)])
def test_a_shuffled_order_is_a_permutation_and_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    (order,) = orders(100, True, 1, seed, epoch)
    torch.rand(3)  # the global generator must not matter
    assert orders(100, True, 1, seed, epoch) == [order]
    assert sorted(order) == list(range(100))
    assert order != list(range(100))


def test_returning_to_an_epoch_restores_its_order() -> None:
    sampler = EpochSampler(50, shuffle=True, seed=3)
    first = list(sampler)
    assert list(sampler) == first  # reading the order does not change it
    sampler.set_epoch(5)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_orders_of_all_seeds_and_epochs_differ() -> None:
    found = {tuple(orders(20, True, 1, seed, epoch)[0]) for seed in range(10) for epoch in range(10)}
    assert len(found) == 100


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 2, 11, 12])
def test_processes_together_evaluate_each_sample_once(size: int, num_replicas: int) -> None:
    parts = orders(size, False, num_replicas)
    assert sorted(chain(*parts)) == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    lengths = [len(EpochSampler(size, False, 0, rank, num_replicas)) for rank in range(num_replicas)]
    assert lengths == [len(part) for part in parts]


@pytest.mark.parametrize("num_replicas", [2, 3])
@pytest.mark.parametrize("size", [1, 11, 12])
def test_processes_train_on_disjoint_samples_of_equal_number(size: int, num_replicas: int) -> None:
    parts = orders(size, True, num_replicas)
    assert {len(part) for part in parts} == {size // num_replicas}
    assert len(EpochSampler(size, True, 0, 0, num_replicas)) == size // num_replicas
    for one, other in combinations(parts, 2):
        assert not set(one) & set(other)


def test_samples_dropped_for_equal_numbers_differ_between_epochs() -> None:
    left_out = [set(range(11)) - set(chain(*orders(11, True, 3, epoch=epoch))) for epoch in range(20)]
    assert all(len(some) == 2 for some in left_out)
    assert len(set.union(*left_out)) > 4


@pytest.mark.parametrize(
    ("size", "batch_size", "drop_last", "lengths"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (8, 4, True, [4, 4]),
        (3, 4, False, [3]),
        (3, 4, True, []),
        (0, 4, False, []),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_follow_the_order_of_the_sampler(
    size: int, batch_size: int, drop_last: bool, lengths: list[int], shuffle: bool
) -> None:
    sampler = EpochSampler(size, shuffle)
    batches = TensorBatchSampler(sampler, batch_size, drop_last)
    found = list(batches)
    assert [len(batch) for batch in found] == lengths
    assert len(batches) == len(lengths)
    assert torch.cat([*found, torch.tensor([], dtype=torch.int64)]).tolist() == list(sampler)[: sum(lengths)]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_invalid_batch_size_is_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        TensorBatchSampler(EpochSampler(3, False), batch_size, False)


def ragged(count: int = 40) -> tuple[RaggedDataset, list[Tensor]]:
    """Return sequences of 1 to 9 steps with 2 features, as a dataset and as a list."""
    lengths = torch.arange(count) * 7 % 9 + 1
    values = torch.arange(1, int(lengths.sum()) * 2 + 1).float().view(-1, 2)
    return RaggedDataset(values, lengths, torch.arange(count)), list(values.split(lengths.tolist()))


def test_length_mask_is_true_for_the_steps_of_each_sequence() -> None:
    assert length_mask(torch.tensor([3, 0, 1]), 3).tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert length_mask(torch.tensor([3], device="meta"), 3).device.type == "meta"


def test_ragged_batch_is_zero_padded_to_its_longest_sequence() -> None:
    dataset, alone = ragged()
    chosen = torch.tensor([5, 0, 17, 5])
    (values, lengths), targets = dataset[chosen]
    assert targets.tolist() == chosen.tolist()
    assert torch.equal(values, torch.nn.utils.rnn.pad_sequence([alone[i] for i in chosen], batch_first=True))
    assert lengths.tolist() == [len(alone[i]) for i in chosen]
    (value, length), _ = dataset[17]
    assert torch.equal(value, alone[17])
    assert length == len(value)


def test_ragged_split_reads_the_sequences_of_its_indices() -> None:
    complete, alone = ragged()
    split = RaggedDataset(complete.values, complete.lengths, complete.targets, torch.tensor([30, 2, 11]))
    (values, lengths), _ = split.__getitems__([2, 0])
    assert torch.equal(values[0, : lengths[0]], alone[11])
    assert torch.equal(values[1, : lengths[1]], alone[30])
    assert split.split_lengths.tolist() == [len(alone[i]) for i in (30, 2, 11)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_of_similar_length_contain_every_sample_once(shuffle: bool) -> None:
    lengths = torch.randint(1, 60, (1003,))
    sampler = EpochSampler(1003, shuffle, seed=3)
    grouped = TensorBatchSampler(sampler, 16, False, lengths)
    batches = list(grouped)
    assert len(batches) == len(grouped)
    assert sorted(torch.cat(batches).tolist()) == list(range(1003))
    assert max(int(lengths[b].max() - lengths[b].min()) for b in batches) <= 10, "random batches differ by nearly 60"
    assert all(torch.equal(a, b) for a, b in zip(batches, grouped, strict=True)), "the same epoch has the same batches"
    sampler.set_epoch(1)
    assert shuffle != torch.equal(torch.cat(batches), torch.cat(list(grouped)))
    if shuffle:
        assert [int(lengths[b].max()) for b in batches] != sorted(int(lengths[b].max()) for b in batches)


def test_grouped_batches_of_two_processes_are_disjoint_and_equally_many() -> None:
    lengths = torch.randint(1, 60, (501,))
    parts = [list(TensorBatchSampler(EpochSampler(501, True, 3, rank, 2), 16, False, lengths)) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1])
    assert not set(torch.cat(parts[0]).tolist()) & set(torch.cat(parts[1]).tolist())


def test_another_sampler_is_read_index_by_index() -> None:
    sampler = torch.utils.data.DistributedSampler(range(10), num_replicas=2, rank=1, shuffle=False)
    assert [b.tolist() for b in TensorBatchSampler(sampler, 2, False)] == [[1, 3], [5, 7], [9]]


@pytest.mark.parametrize("at_once", [1, 50, 200, 10**6])
@pytest.mark.parametrize("start", [(0, 0), (0, 2)])
def test_chunked_batches_equal_batches_indexed_one_by_one(
    at_once: int, start: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 23 samples in batches of 4, so that the last one has 3. An input has 12 bytes."""
    monkeypatch.setattr("litnets.data.core.batching._CHUNK_BYTES", at_once)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (40, 3, 4), dtype=torch.uint8, generator=generator)
    split = ArrayDataset(inputs, torch.arange(40), torch.randperm(40, generator=generator)[:23])
    batches = TensorBatchSampler(EpochSampler(23, True), 4, drop_last=False, start=start)
    alone = list(DataLoader(split, batch_sampler=batches, collate_fn=identity_collate))
    together = BatchLoader(split, batch_sampler=batches, collate_fn=identity_collate)
    assert [len(targets) for _, targets in alone] == [4, 4, 4, 4, 4, 3][start[1] :]
    for _ in range(2):  # the same epoch twice
        for (inputs_alone, targets_alone), (inputs_together, targets_together) in zip(alone, together, strict=True):
            assert torch.equal(inputs_alone, inputs_together)
            assert torch.equal(targets_alone, targets_together)
            # A copy in separate memory, so that matrix products round as after a resume.
            assert inputs_together.untyped_storage().nbytes() == inputs_together.nbytes
