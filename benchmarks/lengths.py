"""Train on sequences of different lengths in three ways: grouped by length and padded, padded, and packed."""

import time
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.result import Result, Settings, divide, interleave
from litnets.data.core.batching import EpochSampler, RaggedDataset, TensorBatchSampler
from litnets.nets import RNN
from litnets.training.trainer import fastest_precision

FEATURES, HIDDEN, CLASSES, BATCH = 32, 128, 10, 128


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return logits `(N, CLASSES)` for sequences `(N, T, FEATURES)` and their lengths `(N,)`."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out: Tensor = self.head(self.lstm(packed)[1][0][-1])
        return out


def measure_lengths(settings: Settings) -> list[Result]:
    """Measure the seconds per sequence when training an LSTM of 128 units, at the precision that `auto` selects.

    Lengths are log-normal; most are between 40 and 160 steps.
    """
    random = torch.Generator().manual_seed(0)
    count = settings.size(16, 2) * BATCH
    lengths = (80 * (0.7 * torch.randn(count, generator=random)).exp()).long().clamp(5, settings.size(1000, 20))
    values = torch.randn(int(lengths.sum()), FEATURES, generator=random)
    data = RaggedDataset(values, lengths, torch.randint(0, CLASSES, (count,), generator=random))
    mixed = fastest_precision("cpu") == "bf16-mixed"

    def cost(net: nn.Module, grouped: bool, batches: int | None = None) -> float:
        optimizer = torch.optim.Adam(net.parameters())
        order = EpochSampler(count, shuffle=True)
        sequences = 0
        start = time.perf_counter()
        batch_sampler = TensorBatchSampler(order, BATCH, drop_last=False, lengths=lengths if grouped else None)
        for indices in islice(batch_sampler, batches):
            (x, mask), targets = data[indices]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = cross_entropy(net(x, mask), targets)
            loss.backward()
            optimizer.step()
            sequences += len(targets)
        return (time.perf_counter() - start) / sequences

    padded, packed = RNN(FEATURES, CLASSES, HIDDEN), Packed()
    seconds = interleave(
        settings.slow_rounds,
        grouped=lambda: cost(padded, grouped=True),
        random=lambda: cost(padded, grouped=False, batches=settings.size(8, 2)),
        packed=lambda: cost(packed, grouped=False, batches=2),  # each batch takes seconds
    )
    return [
        Result("lengths: speed grouped and padded against packed", divide(seconds["packed"], seconds["grouped"]), 10),
        Result("lengths: speed grouped and padded against random", divide(seconds["random"], seconds["grouped"])),
    ]
