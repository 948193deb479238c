"""Batches of sequences of like length: exact, repeatable, and the same for all processes together."""

from itertools import chain

import pytest
import torch
from torch import Tensor

from litnets.data.core.batching import EpochSampler, RaggedDataset, TensorBatchSampler

SIZE = 1003
LENGTHS = torch.randint(1, 30, (SIZE,), generator=torch.Generator().manual_seed(0))


def ragged(indices: Tensor | None = None) -> RaggedDataset:
    values = torch.arange(int(LENGTHS.sum()), dtype=torch.int16) + 1
    return RaggedDataset(values, LENGTHS, torch.arange(SIZE), indices)


def batches(
    epoch: int = 0, seed: int = 0, rank: int = 0, ranks: int = 1, shuffle: bool = True, drop_last: bool = False
) -> list[list[int]]:
    sampler = EpochSampler(SIZE, shuffle, seed, rank, ranks)
    sampler.set_epoch(epoch)
    return [batch.tolist() for batch in TensorBatchSampler(sampler, 8, drop_last, LENGTHS)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_contains_every_sample_once(epoch: int, shuffle: bool) -> None:
    found = batches(epoch, shuffle=shuffle)
    assert sorted(chain(*found)) == list(range(SIZE))
    assert len(found) == -(-SIZE // 8)
    assert sorted(map(len, found))[:2] == [3, 8]


def test_drop_last_drops_an_incomplete_batch() -> None:
    found = batches(drop_last=True)
    assert {len(batch) for batch in found} == {8}
    assert len(set(chain(*found))) == SIZE // 8 * 8


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    orders = set()
    for seed in (0, 1):
        for epoch in (0, 1):
            order = batches(epoch, seed)
            torch.rand(3)
            assert batches(epoch, seed) == order
            orders.add(str(order))
    assert len(orders) == 4


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_have_disjoint_samples_and_equally_many_batches(ranks: int) -> None:
    parts = [batches(4, rank=rank, ranks=ranks) for rank in range(ranks)]
    together = list(chain(*chain(*parts)))
    assert len(together) == len(set(together)) == SIZE // ranks * ranks
    assert len({len(part) for part in parts}) == 1
    evaluated = list(chain(*chain(*(batches(rank=rank, ranks=ranks, shuffle=False) for rank in range(ranks)))))
    assert sorted(evaluated) == list(range(SIZE))


def test_batches_have_similar_lengths_and_a_random_order() -> None:
    found = batches()
    padding = sum(len(b) * LENGTHS[b].max().item() for b in found) / LENGTHS.sum().item()
    assert padding < 1.08  # in the order of a plain shuffle it is about 1.8
    longest = [LENGTHS[batch].max().item() for batch in found]
    assert longest != sorted(longest)
    assert abs(sum(longest[:30]) / 30 - sum(longest) / len(longest)) < 5


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_first_batches_of_an_evaluation_are_representative_and_fixed(ranks: int) -> None:
    """`limit_val_batches` leaves the others out."""
    found = batches(shuffle=False, ranks=ranks)
    longest = [LENGTHS[batch].max().item() for batch in found]
    assert abs(sum(longest[: len(found) // 4]) / (len(found) // 4) - sum(longest) / len(longest)) < 4
    assert all(LENGTHS[batch].max() - LENGTHS[batch].min() < 3 for batch in found)
    assert batches(epoch=3, seed=1, shuffle=False, ranks=ranks) == found


def test_batches_differ_between_epochs() -> None:
    together = [{frozenset(batch) for batch in batches(epoch)} for epoch in (0, 1)]
    assert not together[0] & together[1]


def test_a_batch_is_zero_padded_sequences() -> None:
    data = ragged(torch.randperm(SIZE)[:100])
    chosen = torch.tensor([5, 99, 0])
    (values, lengths), targets = data[chosen]
    assert values.shape == (3, lengths.max())
    assert values.dtype == torch.int16
    starts = LENGTHS.cumsum(0) - LENGTHS
    for row, length, target, one in zip(values, lengths, targets, chosen, strict=True):
        assert target == data.indices[one]
        assert length == LENGTHS[target]
        assert row[:length].tolist() == list(range(starts[target] + 1, starts[target] + 1 + length))
        assert row[length:].count_nonzero() == 0
        (alone, alone_length), alone_target = data[one]
        assert torch.equal(alone, row[:length])
        assert (alone_length, alone_target) == (length, target)
    assert torch.equal(data.split_lengths, LENGTHS[data.indices])
