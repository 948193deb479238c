"""Time data loading: against torchvision and bare indexing, and for a small against a large data set."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.images import limit_to_memory, synthetic
from benchmarks.result import Result, Settings, divide, interleave
from benchmarks.training import RawLoop, quiet_trainer
from litnets.data import MNIST
from litnets.data.core.batching import ArrayDataset
from litnets.data.images.base import ImageDataModule
from litnets.tasks import MLPClassifier

BATCH = 128


def measure_loader(settings: Settings) -> list[Result]:
    """Compare normalized batches with those of torchvision, and batches before normalization with bare indexing."""
    data = MNIST(data_dir=str(settings.data), batch_size=BATCH)
    data.setup("fit")
    train = data.splits["train"]
    assert isinstance(train, ArrayDataset)
    torchvision_loader = sample_by_sample(settings, data)
    images, targets = train.inputs[train.indices], train.targets[train.indices]

    def bare() -> Iterable[tuple[Tensor, Tensor]]:
        return ((images[indices], targets[indices]) for indices in torch.randperm(len(targets)).split(BATCH))

    few, many = settings.size(40, 2), settings.size(400, 4)  # batches
    seconds = interleave(
        settings.rounds,
        torchvision=lambda: _seconds_per_sample(torchvision_loader, few),
        normalized=lambda: _seconds_per_sample(
            (data.on_after_batch_transfer(b, 0) for b in data.train_dataloader()), many
        ),
        loader=lambda: _seconds_per_sample(data.train_dataloader(), many),
        bare=lambda: _seconds_per_sample(bare(), many),
    )
    return [
        Result(
            "loader: speed against torchvision's DataLoader", divide(seconds["torchvision"], seconds["normalized"]), 40
        ),
        Result("loader: speed against a bare randperm().split()", divide(seconds["bare"], seconds["loader"])),
    ]


def sample_by_sample(settings: Settings, data: MNIST, train: bool = True) -> DataLoader[Any]:
    """Return a DataLoader of MNIST as in torchvision's documentation."""
    steps = [transforms.ToTensor(), transforms.Normalize([m / 255 for m in data.mean], [s / 255 for s in data.std])]
    dataset = datasets.MNIST(str(settings.data), train=train, transform=transforms.Compose(steps))
    return DataLoader(dataset, BATCH, shuffle=train)


def measure_growth(settings: Settings) -> list[Result]:
    """Compare the cost per sample of 6,000 images and of a larger data set, for loading and for training an MLP."""
    smallest = settings.size(6000, 600)
    largest = limit_to_memory(settings.largest)
    images, targets = synthetic(largest)
    sets = {}
    for size in (smallest, largest):
        sets[size] = _SyntheticImages(images[:size], targets[:size])
        sets[size].setup("fit")
    task = MLPClassifier(input_shape=(1, 28, 28), num_classes=10, hidden_layer_sizes=(64, 128, 64), batch_norm=True)
    few = images[:smallest], targets[:smallest]
    raw = RawLoop(task, *few, sets[smallest], quiet_trainer(batches=1))
    batches = settings.size(200, 3)

    def cost(size: int, train: bool) -> float:
        data = sets[size]
        start = time.perf_counter()
        order = iter(data.train_dataloader())
        next(order)  # this samples the order of the complete epoch
        shuffled = time.perf_counter()
        samples = 0
        while samples < batches * BATCH:  # a small data set needs several epochs
            for batch in islice(order, batches):
                images, targets = data.on_after_batch_transfer(batch, 0)
                if train:
                    raw.step(images, targets)
                samples += len(targets)
            order = iter(data.train_dataloader()) if samples < batches * BATCH else order
        return (shuffled - start) / size + (time.perf_counter() - shuffled) / samples

    seconds = interleave(
        settings.rounds,
        small=lambda: cost(smallest, train=True),
        large=lambda: cost(largest, train=True),
        small_alone=lambda: cost(smallest, train=False),
        large_alone=lambda: cost(largest, train=False),
    )
    sizes = f"{smallest:,} -> {largest:,} images"
    trained, alone = (divide(seconds[f"large{which}"], seconds[f"small{which}"]) for which in ("", "_alone"))
    return [
        Result(f"growth: cost per sample in training, {sizes}", trained, 1.10, "upper"),
        Result(f"growth: cost per sample when loading, {sizes}", alone),
    ]


class _SyntheticImages(ImageDataModule):
    input_shape = (1, 28, 28)
    num_classes = 10

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        super().__init__(batch_size=BATCH)
        self.images, self.targets = images, targets
        self.mean, self.std = [127.5], [73.9]

    def load(self) -> dict[str, ArrayDataset]:
        return {"train": ArrayDataset(self.images, self.targets)}


def _seconds_per_sample(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> float:
    samples = 0
    start = time.perf_counter()
    for _, targets in islice(batches, count):
        samples += len(targets)
    return (time.perf_counter() - start) / samples
