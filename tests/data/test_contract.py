"""What every public DataModule promises to the command and to the tasks. A new one is given a builder here."""

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torchvision import datasets

from litnets import data
from litnets.data import (
    CIFAR10,
    MNIST,
    ArrayDataModule,
    AudioDataModule,
    AudioFolder,
    Digits,
    FashionMNIST,
    ImageDataModule,
    ImageFolder,
    RandomShift,
    SpokenDigits,
)
from litnets.data.batches import RaggedDataset
from tests.tiny import write_mnist
from tests.tiny_images import write_cifar10, write_image_folder
from tests.tiny_sound import write_audio_folder, write_fsdd

BASES = (ArrayDataModule, AudioDataModule, ImageDataModule)
PUBLIC = [
    cls for name in data.__all__ if issubclass(cls := getattr(data, name), LightningDataModule) and cls not in BASES
]
EVALUATION = ("val", "test", "predict")

Build = Callable[..., ArrayDataModule]


@pytest.fixture(params=PUBLIC, ids=lambda cls: cls.__name__)
def build(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Makes the DataModule on tiny files, ready to be read."""
    cls = request.param
    builders: dict[type, Callable[[], dict[str, Any]]] = {
        Digits: dict,
        MNIST: lambda: tiny_mnist(tmp_path, datasets.MNIST, monkeypatch),
        FashionMNIST: lambda: tiny_mnist(tmp_path, datasets.FashionMNIST, monkeypatch),
        CIFAR10: lambda: {"data_dir": str(tmp_path)} | (write_cifar10(tmp_path, monkeypatch) or {}),
        ImageFolder: lambda: {"root": str(tmp_path), "size": 12} | (write_image_folder(tmp_path) or {}),
        AudioFolder: lambda: {"root": str(tmp_path), "sample_rate": 8000} | (write_audio_folder(tmp_path) or {}),
        SpokenDigits: lambda: {"data_dir": str(tmp_path), "batch_size": 8} | (write_fsdd(tmp_path) or {}),
    }
    arguments = {"batch_size": 16, "eval_batch_size": 32} | builders[cls]()

    def ready(**more: Any) -> ArrayDataModule:
        module: ArrayDataModule = cls(**arguments | more)
        module.prepare_data()
        module.setup()
        return module

    return ready


def tiny_mnist(folder: Path, source: type[datasets.MNIST], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    checksums = write_mnist(folder, source.__name__)
    monkeypatch.setattr(source, "resources", list(checksums.items()))
    return {"data_dir": str(folder)}


def loader(module: ArrayDataModule, split: str) -> Any:
    return getattr(module, f"{split}_dataloader")()


def content(loader: Any, epoch: int = 0) -> list[tuple[bytes, bytes]]:
    """The batches of an epoch, to be compared; the epoch is announced as Lightning announces it."""
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [
        (b"".join(t.numpy().tobytes() for t in parts(inputs)), targets.numpy().tobytes()) for inputs, targets in loader
    ]


def parts(inputs: Any) -> tuple[torch.Tensor, ...]:
    """What a batch's inputs are made of: a tensor, or values and their lengths."""
    return inputs if isinstance(inputs, tuple | list) else (inputs,)


def stored(split: Any) -> torch.Tensor:
    """All inputs of which a split has some."""
    return split.values if isinstance(split, RaggedDataset) else split.inputs


def test_there_are_some() -> None:
    assert {Digits, MNIST, FashionMNIST} <= set(PUBLIC)


def test_facts(build: Build) -> None:
    module = build()
    assert len(module.class_names) == module.num_classes == len(set(module.class_names))
    counts = module.class_counts
    assert len(counts) == module.num_classes
    assert sum(counts) == len(module.splits["train"])
    assert min(counts) > 0


def test_splits_are_disjoint_and_none_is_empty(build: Build) -> None:
    splits = build().splits
    assert list(splits) == ["train", "val", "test"]
    assert all(len(split) for split in splits.values())
    seen = [(stored(split).data_ptr(), i) for split in splits.values() for i in split.indices.tolist()]
    assert len(seen) == len(set(seen))
    assert len({stored(split).data_ptr() for split in splits.values()}) in (1, 2)  # 2: an official test split


def test_the_split_is_the_same_every_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build().splits
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    torch.rand(3)
    assert all(torch.equal(split.indices, first[name].indices) for name, split in build().splits.items())


@pytest.mark.parametrize("split", ["train", *EVALUATION])
def test_a_batch_is_what_the_facts_say(build: Build, split: str) -> None:
    module = build()
    batch = next(iter(loader(module, split)))
    inputs, targets = module.on_after_batch_transfer(batch, 0)
    size = module.batch_size if split == "train" else module.eval_batch_size
    values, *lengths = parts(inputs)
    assert len(values.shape) == len(module.input_shape) + 1
    wanted = zip(values.shape[1:], module.input_shape, strict=True)
    assert all(found == stated for found, stated in wanted if stated is not None)
    assert len(values) == len(targets) <= size
    assert values.dtype == torch.float32
    if lengths:
        assert lengths[0].min() >= 1
        assert lengths[0].max() == values.shape[1]
        assert lengths[0].shape == targets.shape
    assert targets.shape == (len(values),)
    assert targets.dtype == torch.int64
    assert values.isfinite().all()
    assert 0 <= targets.min() <= targets.max() < module.num_classes


def test_data_are_kept_and_sent_to_the_device_in_their_smallest_type(build: Build) -> None:
    inputs, targets = next(iter(build().train_dataloader()))
    assert parts(inputs)[0].dtype in (torch.uint8, torch.int16)
    assert targets.dtype == torch.uint8


def test_the_order_of_training_is_a_function_of_seed_and_epoch(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = set()
    for seed in "12":
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        for epoch in (0, 1):
            order = content(build().train_dataloader(), epoch)
            torch.rand(3)
            assert content(build().train_dataloader(), epoch) == order
            orders.add(tuple(order))
    assert len(orders) == 4


@pytest.mark.parametrize("split", ["train", "val", "predict"])
def test_workers_do_not_change_the_batches(build: Build, split: str) -> None:
    # Of fewer samples, so that a process that reads them is soon done.
    alone, with_workers = build(), build(num_workers=2)
    for module in (alone, with_workers):
        module.splits = {name: first_forty(split) for name, split in module.splits.items()}
    first, second = loader(alone, split), loader(with_workers, split)
    assert [content(first, epoch) for epoch in (0, 1)] == [content(second, epoch) for epoch in (0, 1)]
    assert second.num_workers == 2


def first_forty(split: Any) -> Any:
    few = copy(split)
    few.indices = split.indices[:40]
    return few


@pytest.mark.parametrize("split", EVALUATION)
def test_evaluation_is_in_order_and_complete(build: Build, split: str) -> None:
    module = build()
    part = module.splits["test" if split == "predict" else split]
    if isinstance(part, RaggedDataset):
        # Sorted by length, but for predictions, which stand in the split's order.
        rank = part.split_lengths.argsort(stable=True) if split != "predict" else torch.arange(len(part))
        recordings = [
            (inputs[0][i, : inputs[1][i]].tolist(), int(target))
            for inputs, targets in loader(module, split)
            for i, target in enumerate(targets)
        ]
        assert recordings == [(part[int(i)][0][0].tolist(), int(part[int(i)][1])) for i in rank]
        return
    inputs, targets = (torch.cat(tensors) for tensors in zip(*loader(module, split), strict=True))
    assert torch.equal(inputs, part.inputs[part.indices])
    assert torch.equal(targets, part.targets[part.indices])


def test_training_has_each_sample_once(build: Build) -> None:
    module = build()
    part = module.splits["train"]
    targets = torch.cat([targets for _, targets in module.train_dataloader()])
    assert targets.bincount().tolist() == part.targets[part.indices].bincount().tolist()
    batches = loader(module, "train").batch_sampler
    assert sorted(torch.cat(list(batches)).tolist()) == list(range(len(part)))


def test_it_takes_augmentations(build: Build) -> None:
    if not isinstance(build(), ImageDataModule):
        pytest.skip("augmentations are of images")
    module = build(augment=[RandomShift(1)])
    assert len(module.augment) == 1
