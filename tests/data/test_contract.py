"""What every public DataModule promises to the command and to the tasks. A new one is given a builder here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torchvision import datasets

from litnets import data
from litnets.data import (
    MNIST,
    ArrayDataModule,
    Digits,
    FashionMNIST,
    ImageDataModule,
    Names,
    RandomShift,
    TextDataModule,
    TextFiles,
)
from litnets.data.batches import RaggedDataset
from tests.tiny import write_mnist
from tests.tiny_text import rows, tiny_names, write_texts

BASES = (ArrayDataModule, ImageDataModule, TextDataModule)
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
        Names: lambda: tiny_names(tmp_path, monkeypatch),
        TextFiles: lambda: {"path": str(write_texts(tmp_path / "t.csv", rows()))},
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
        (b"".join(part.numpy().tobytes() for part in parts(inputs)), targets.numpy().tobytes())
        for inputs, targets in loader
    ]


def parts(inputs: Any) -> tuple[torch.Tensor, ...]:
    """The tensors of a batch's inputs: one, or steps and lengths."""
    return (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)


def memory(split: Any) -> Any:
    """The tensor of all samples, of which a split has some."""
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
    seen = [(memory(split).data_ptr(), i) for split in splits.values() for i in split.indices.tolist()]
    assert len(seen) == len(set(seen))
    assert len({memory(split).data_ptr() for split in splits.values()}) in (1, 2)  # 2: an official test split


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
    if isinstance(module, TextDataModule):
        inputs, lengths = inputs
        assert inputs.shape == (len(lengths), lengths.max())
        assert inputs.dtype == torch.int64
        assert 0 <= inputs.min() <= inputs.max() < module.vocab_size
    else:
        assert inputs.shape[1:] == module.input_shape
        assert inputs.dtype == torch.float32
    assert len(inputs) == len(targets) <= size
    assert targets.shape == (len(inputs),)
    assert targets.dtype == torch.int64
    assert inputs.isfinite().all()
    assert 0 <= targets.min() <= targets.max() < module.num_classes


def test_data_are_kept_and_sent_to_the_device_in_their_smallest_type(build: Build) -> None:
    inputs, targets = next(iter(build().train_dataloader()))
    assert parts(inputs)[0].dtype == targets.dtype == torch.uint8


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
        for part in module.splits.values():
            part.indices = part.indices[:40]
    first, second = loader(alone, split), loader(with_workers, split)
    assert [content(first, epoch) for epoch in (0, 1)] == [content(second, epoch) for epoch in (0, 1)]
    assert second.num_workers == 2


@pytest.mark.parametrize("split", EVALUATION)
def test_evaluation_is_in_order_and_complete(build: Build, split: str) -> None:
    module = build()
    part = module.splits["test" if split == "predict" else split]
    if isinstance(part, RaggedDataset):
        # In the order of the samples to be predicted; grouped by length, and each once, to be judged.
        order = torch.cat(list(loader(module, split).batch_sampler)) if split != "predict" else torch.arange(len(part))
        assert sorted(order.tolist()) == list(range(len(part)))
        targets = torch.cat([targets for _, targets in loader(module, split)])
        assert torch.equal(targets, part.targets[part.indices[order]])
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


def test_images_take_augmentations(build: Build) -> None:
    if not isinstance(build(), ImageDataModule):
        pytest.skip("no images")
    module = build(augment=[RandomShift(1)])
    assert isinstance(module, ImageDataModule)
    assert len(module.augment) == 1
