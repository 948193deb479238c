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
    XOR,
    ArrayDataModule,
    BreastCancer,
    Diabetes,
    Digits,
    FashionMNIST,
    ImageDataModule,
    Iris,
    Moons,
    RandomShift,
    Spirals,
    TableCSV,
    TableDataModule,
    Wine,
)
from tests.tiny import write_mnist
from tests.tiny_tables import write_csv

BASES = (ArrayDataModule, ImageDataModule, TableDataModule)
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
        MNIST: lambda: tiny_mnist(tmp_path, datasets.MNIST, monkeypatch),
        FashionMNIST: lambda: tiny_mnist(tmp_path, datasets.FashionMNIST, monkeypatch),
        TableCSV: lambda: {"path": str(write_csv(tmp_path / "table.csv")), "target": "bought"},
    }
    arguments = {"batch_size": 16, "eval_batch_size": 32} | builders.get(cls, dict)()

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
    return [(inputs.numpy().tobytes(), targets.numpy().tobytes()) for inputs, targets in loader]


def test_there_are_some() -> None:
    tables = {BreastCancer, Diabetes, Iris, TableCSV, Wine, XOR, Moons, Spirals}
    assert {Digits, MNIST, FashionMNIST} | tables <= set(PUBLIC)


def test_facts(build: Build) -> None:
    module = build()
    if module.num_classes is None:
        assert module.class_names is module.class_counts is None
        facts = (module.target_names, module.target_mean, module.target_std)
        assert [len(fact) for fact in facts] == [module.num_targets] * 3
        assert min(module.target_std) > 0
        return
    assert len(module.class_names) == module.num_classes == len(set(module.class_names))
    counts = module.class_counts
    assert len(counts) == module.num_classes
    assert sum(counts) == len(module.splits["train"])
    assert min(counts) > 0


def test_splits_are_disjoint_and_none_is_empty(build: Build) -> None:
    splits = build().splits
    assert list(splits) == ["train", "val", "test"]
    assert all(len(split) for split in splits.values())
    seen = [(split.inputs.data_ptr(), i) for split in splits.values() for i in split.indices.tolist()]
    assert len(seen) == len(set(seen))
    assert len({split.inputs.data_ptr() for split in splits.values()}) in (1, 2)  # 2: an official test split


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
    assert inputs.shape[1:] == module.input_shape
    assert len(inputs) == len(targets) <= size
    assert inputs.dtype == torch.float32
    assert inputs.isfinite().all()
    if module.num_classes is None:
        assert targets.shape == (len(inputs), module.num_targets)
        assert targets.dtype == torch.float32
        return
    assert targets.shape == (len(inputs),)
    assert targets.dtype == torch.int64
    assert 0 <= targets.min() <= targets.max() < module.num_classes


def test_data_are_kept_and_sent_to_the_device_in_their_smallest_type(build: Build) -> None:
    module = build()
    inputs, targets = next(iter(module.train_dataloader()))
    assert inputs.dtype == (torch.uint8 if isinstance(module, ImageDataModule) else torch.float32)
    assert targets.dtype == (torch.float32 if module.num_classes is None else torch.uint8)


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
        module.splits = {n: type(s)(s.inputs, s.targets, s.indices[:40]) for n, s in module.splits.items()}
    first, second = loader(alone, split), loader(with_workers, split)
    assert [content(first, epoch) for epoch in (0, 1)] == [content(second, epoch) for epoch in (0, 1)]
    assert second.num_workers == 2


@pytest.mark.parametrize("split", EVALUATION)
def test_evaluation_is_in_order_and_complete(build: Build, split: str) -> None:
    module = build()
    part = module.splits["test" if split == "predict" else split]
    inputs, targets = (torch.cat(tensors) for tensors in zip(*loader(module, split), strict=True))
    torch.testing.assert_close(inputs, part.inputs[part.indices], rtol=0, atol=0, equal_nan=True)  # NaN: missing
    assert torch.equal(targets, part.targets[part.indices])


def test_training_has_each_sample_once(build: Build) -> None:
    module = build()
    part = module.splits["train"]
    targets = torch.cat([targets for _, targets in module.train_dataloader()])
    assert sorted(targets.flatten().tolist()) == sorted(part.targets[part.indices].flatten().tolist())
    batches = loader(module, "train").batch_sampler
    assert sorted(torch.cat(list(batches)).tolist()) == list(range(len(part)))


def test_images_take_augmentations(build: Build) -> None:
    if not isinstance(build(), ImageDataModule):
        pytest.skip("no images")
    module = build(augment=[RandomShift(1)])
    assert isinstance(module, ImageDataModule)
    assert len(module.augment) == 1
