from itertools import chain, combinations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from litnets.data.batches import ArrayDataset, EpochSampler, TensorBatchSampler, whole_batch


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
def test_a_whole_batch_is_the_same_as_its_samples_one_by_one(indices: Tensor | None) -> None:
    data = dataset(indices=indices)
    chosen = [2, 0, 3, 3]
    one_by_one = [data[i] for i in chosen]
    for inputs, targets in (data[torch.tensor(chosen)], data.__getitems__(chosen)):
        assert torch.equal(inputs, torch.stack([x for x, _ in one_by_one]))
        assert torch.equal(targets, torch.stack([y for _, y in one_by_one]))
        assert inputs.dtype == torch.uint8  # the smallest type, until it is on the device


def test_a_split_has_the_samples_of_its_indices() -> None:
    data = dataset(indices=torch.tensor([7, 1]))
    assert len(data) == 2
    assert torch.equal(data[0][0], dataset()[7][0])
    with pytest.raises(IndexError):
        data[2]


def test_a_plain_dataloader_reads_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ArrayDataset, "__getitem__")  # item by item would fail
    calls: list[list[int]] = []
    monkeypatch.setattr(
        ArrayDataset, "__getitems__", lambda self, i: (calls.append(i), (self.inputs[i], self.targets[i]))[1]
    )
    batches = list(DataLoader(dataset(), batch_size=4, collate_fn=whole_batch))
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([x for x, _ in batches]), dataset().inputs)


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (1, 0), (2**40, 7)])
def test_a_shuffled_order_is_a_permutation_and_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    (order,) = orders(100, True, 1, seed, epoch)
    torch.rand(3)  # the global generator has no part in it
    assert orders(100, True, 1, seed, epoch) == [order]
    assert sorted(order) == list(range(100))
    assert order != list(range(100))


def test_going_back_to_an_epoch_brings_its_order_back() -> None:
    sampler = EpochSampler(50, shuffle=True, seed=3)
    first = list(sampler)
    assert list(sampler) == first  # nothing is consumed by reading it
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
def test_processes_train_on_different_samples_and_equally_many(size: int, num_replicas: int) -> None:
    parts = orders(size, True, num_replicas)
    assert {len(part) for part in parts} == {size // num_replicas}
    assert len(EpochSampler(size, True, 0, 0, num_replicas)) == size // num_replicas
    for one, other in combinations(parts, 2):
        assert not set(one) & set(other)


def test_the_samples_left_out_for_even_processes_are_others_in_another_epoch() -> None:
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
def test_batches_are_cut_from_the_order(
    size: int, batch_size: int, drop_last: bool, lengths: list[int], shuffle: bool
) -> None:
    sampler = EpochSampler(size, shuffle)
    batches = TensorBatchSampler(sampler, batch_size, drop_last)
    found = list(batches)
    assert [len(batch) for batch in found] == lengths
    assert len(batches) == len(lengths)
    assert torch.cat([*found, torch.tensor([], dtype=torch.int64)]).tolist() == list(sampler)[: sum(lengths)]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_impossible_batch_size_is_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        TensorBatchSampler(EpochSampler(3, False), batch_size, False)
