"""Batches: the loader against torchvision's item-by-item road and the bare loop; a sample's cost while data grow."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.figure import Figure, Settings, divided, take_turns
from benchmarks.pictures import synthetic, that_fit
from benchmarks.training import RawLoop, quiet_trainer
from litnets.data import MNIST
from litnets.data.core.batching import ArrayDataset
from litnets.data.images.base import ImageDataModule
from litnets.tasks import MLPClassifier

BATCH = 128


def measure_loader(settings: Settings) -> list[Figure]:
    """Batches as the network takes them, normalised floats, against torchvision's; and indexing against indexing."""
    data = MNIST(data_dir=str(settings.data), batch_size=BATCH)
    data.setup("fit")
    train = data.splits["train"]
    assert isinstance(train, ArrayDataset)
    road = item_by_item(settings, data)
    images, targets = train.inputs[train.indices], train.targets[train.indices]

    def bare() -> Iterable[tuple[Tensor, Tensor]]:
        return ((images[chosen], targets[chosen]) for chosen in torch.randperm(len(targets)).split(BATCH))

    few, many = settings.size(40, 2), settings.size(400, 4)  # batches
    seconds = take_turns(
        settings.rounds,
        torchvision=lambda: _seconds_of_a_sample(road, few),
        whole=lambda: _seconds_of_a_sample((data.on_after_batch_transfer(b, 0) for b in data.train_dataloader()), many),
        loader=lambda: _seconds_of_a_sample(data.train_dataloader(), many),
        bare=lambda: _seconds_of_a_sample(bare(), many),
    )
    return [
        Figure("loader: speed against torchvision's road", divided(seconds["torchvision"], seconds["whole"]), 40),
        Figure("loader: speed against a bare randperm().split()", divided(seconds["bare"], seconds["loader"])),
    ]


def item_by_item(settings: Settings, data: MNIST, train: bool = True) -> DataLoader[Any]:
    """MNIST as torchvision's documentation reads it."""
    steps = [transforms.ToTensor(), transforms.Normalize([m / 255 for m in data.mean], [s / 255 for s in data.std])]
    dataset = datasets.MNIST(str(settings.data), train=train, transform=transforms.Compose(steps))
    return DataLoader(dataset, BATCH, shuffle=train)


def measure_growth(settings: Settings) -> list[Figure]:
    """What a sample costs in a set of 6,000 pictures and in larger ones: alone, and in the training of an MLP."""
    smallest = settings.size(6000, 600)
    largest = that_fit(settings.largest)
    images, targets = synthetic(largest)
    sets = {}
    for size in (smallest, largest):
        sets[size] = _Pictures(images[:size], targets[:size])
        sets[size].setup("fit")
    task = MLPClassifier(input_shape=(1, 28, 28), num_classes=10, hidden_layer_sizes=(64, 128, 64), batch_norm=True)
    few = images[:smallest], targets[:smallest]
    raw = RawLoop(task, *few, sets[smallest], quiet_trainer(batches=1))
    batches = settings.size(200, 3)

    def cost(size: int, train: bool) -> float:
        data = sets[size]
        start = time.perf_counter()
        order = iter(data.train_dataloader())
        next(order)  # the order of all of the epoch is drawn now
        drawn = time.perf_counter()
        samples = 0
        while samples < batches * BATCH:  # of a small set several epochs
            for batch in islice(order, batches):
                images, targets = data.on_after_batch_transfer(batch, 0)
                if train:
                    raw.step(images, targets)
                samples += len(targets)
            order = iter(data.train_dataloader()) if samples < batches * BATCH else order
        return (drawn - start) / size + (time.perf_counter() - drawn) / samples

    seconds = take_turns(
        settings.rounds,
        small=lambda: cost(smallest, train=True),
        large=lambda: cost(largest, train=True),
        small_alone=lambda: cost(smallest, train=False),
        large_alone=lambda: cost(largest, train=False),
    )
    sizes = f"{smallest:,} -> {largest:,} pictures"
    trained, alone = (divided(seconds[f"large{which}"], seconds[f"small{which}"]) for which in ("", "_alone"))
    return [
        Figure(f"growth: cost of a sample in training, {sizes}", trained, 1.10, "most"),
        Figure(f"growth: cost of a sample loaded, {sizes}", alone),
    ]


class _Pictures(ImageDataModule):
    input_shape = (1, 28, 28)
    num_classes = 10

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        super().__init__(batch_size=BATCH)
        self.images, self.targets = images, targets
        self.mean, self.std = [127.5], [73.9]

    def load(self) -> dict[str, ArrayDataset]:
        return {"train": ArrayDataset(self.images, self.targets)}


def _seconds_of_a_sample(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> float:
    samples = 0
    start = time.perf_counter()
    for _, targets in islice(batches, count):
        samples += len(targets)
    return (time.perf_counter() - start) / samples
