"""The contract of every public DataModule with the command line and the tasks. Add a builder for a new one."""

import csv
import json
import math
import pickle
import shutil
from collections.abc import Callable
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torchvision import datasets

from litnets import data
from litnets.data import (
    CIFAR10,
    MNIST,
    ArrayData,
    ArrayDataModule,
    AudioDataModule,
    AudioFolder,
    Digits,
    ETTh1,
    ETTh2,
    FashionMNIST,
    ImageArrays,
    ImageDataModule,
    ImageFolder,
    Names,
    RandomShift,
    SegmentationDataModule,
    SeriesCSV,
    SeriesDataModule,
    SeriesFolder,
    SpokenDigits,
    StreamedImages,
    TableCSV,
    TableDataModule,
    TextDataModule,
    TextFiles,
)
from litnets.data.core.base import Split
from litnets.data.core.batching import RaggedDataset
from litnets.data.images.arrays import MappedImages
from tests.helpers.tiny import write_mnist
from tests.helpers.tiny_images import write_cifar10, write_image_arrays, write_image_folder
from tests.helpers.tiny_series import waves, write_ett, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder, write_fsdd, write_wav
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, tiny_names, write_texts

# These keep the same promises in their own tests: StreamedImages needs an extra, and data for segmentation have masks.
ELSEWHERE = (StreamedImages, SegmentationDataModule)
BASES = (ArrayDataModule, AudioDataModule, ImageDataModule, SeriesDataModule, TableDataModule, TextDataModule)
PUBLIC = [
    cls
    for name in data.__all__
    if issubclass(cls := getattr(data, name), LightningDataModule) and cls not in BASES
    if not issubclass(cls, ELSEWHERE)
]
EVALUATION = ("val", "test", "predict")
RNG = np.random.default_rng(0)

Build = Callable[..., ArrayDataModule]


@pytest.fixture(params=PUBLIC, ids=lambda cls: cls.__name__)
def build(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return a function that builds the DataModule on tiny files, set up unless it predicts new samples."""
    cls = request.param
    builders: dict[type, Callable[[], dict[str, Any]]] = {
        MNIST: lambda: tiny_mnist(tmp_path, datasets.MNIST, monkeypatch),
        FashionMNIST: lambda: tiny_mnist(tmp_path, datasets.FashionMNIST, monkeypatch),
        CIFAR10: lambda: {"data_dir": str(tmp_path)} | (write_cifar10(tmp_path, monkeypatch) or {}),
        ImageFolder: lambda: {"root": str(tmp_path), "size": 12} | (write_image_folder(tmp_path) or {}),
        ImageArrays: lambda: {"root": str(tmp_path)} | (write_image_arrays(tmp_path) or {}),
        AudioFolder: lambda: {"root": str(tmp_path), "sample_rate": 8000} | (write_audio_folder(tmp_path) or {}),
        SpokenDigits: lambda: {"data_dir": str(tmp_path), "batch_size": 8} | (write_fsdd(tmp_path) or {}),
        Names: lambda: tiny_names(tmp_path, monkeypatch),
        TextFiles: lambda: {"path": str(write_texts(tmp_path / "t.csv", rows()))},
        ArrayData: lambda: {"inputs": RNG.integers(0, 256, (90, 8, 8), np.uint8), "targets": np.arange(90) % 3},
        TableCSV: lambda: {"path": str(write_csv(tmp_path / "table.csv")), "target": "bought"},
        ETTh1: lambda: tiny_ett(tmp_path, ETTh1, monkeypatch),
        ETTh2: lambda: tiny_ett(tmp_path, ETTh2, monkeypatch),
        SeriesCSV: lambda: tiny_series(tmp_path),
        SeriesFolder: lambda: tiny_series_folder(tmp_path),
    }
    arguments = {"batch_size": 16, "eval_batch_size": 32} | builders.get(cls, dict)()

    def ready(**more: Any) -> ArrayDataModule:
        module: ArrayDataModule = cls(**arguments | more)
        if "predict_path" not in more:
            module.prepare_data()
            module.setup()
        return module

    return ready


def tiny_mnist(folder: Path, source: type[datasets.MNIST], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    checksums = write_mnist(folder, source.__name__)
    monkeypatch.setattr(source, "resources", list(checksums.items()))
    return {"data_dir": str(folder)}


def tiny_ett(folder: Path, cls: type[ETTh1], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    write_ett(folder, monkeypatch, cls, ends=(120, 200, 280))
    return {"data_dir": str(folder), "look_back": 24, "horizon": 6}


def tiny_series(folder: Path) -> dict[str, Any]:
    write_series(folder / "own.csv", waves(200, 3), "abc")
    return {"path": str(folder / "own.csv"), "look_back": 12, "horizon": 4}


def tiny_series_folder(folder: Path) -> dict[str, Any]:
    write_series_folder(folder / "waves", each=30)
    return {"root": str(folder / "waves")}


def loader(module: ArrayDataModule, split: str) -> Any:
    return getattr(module, f"{split}_dataloader")()


def content(loader: Any, epoch: int = 0) -> list[tuple[bytes, ...]]:
    """The batches of an epoch, to be compared; the epoch is announced as Lightning announces it."""
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [tuple(t.numpy().tobytes() for t in (*tensors(inputs), targets)) for inputs, targets in loader]


def forecasts(module: ArrayDataModule) -> bool:
    return hasattr(module, "horizon")


def tensors(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs alone, or padded sequences and their lengths."""
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)


def memory(split: Split) -> int:
    """Where the samples of a split lie."""
    samples = split.values if isinstance(split, RaggedDataset) else split.inputs
    return (samples.values if isinstance(samples, MappedImages) else samples).data_ptr()


def test_the_list_of_datamodules_is_not_empty() -> None:
    assert {"Digits", "MNIST", "Names", "SpokenDigits", "ETTh1", "TableCSV", "XOR"} <= {cls.__name__ for cls in PUBLIC}


def test_facts(build: Build) -> None:
    module = build()
    if module.num_classes is None:
        assert module.class_counts is module.class_shares is None
        kind = "channel" if forecasts(module) else "target"
        names, mean, std = (getattr(module, f"{kind}_{fact}") for fact in ("names", "mean", "std"))
        assert len(names) == len(mean) == len(std) == len(set(names))
        assert min(std) > 0
        return
    assert len(module.class_names) == module.num_classes == len(set(module.class_names))
    counts = module.class_counts
    assert len(counts) == module.num_classes
    assert sum(counts) == len(module.splits["train"])
    assert min(counts) > 0
    assert module.class_shares == pytest.approx([count / sum(counts) for count in counts])


def test_splits_are_disjoint_and_not_empty(build: Build) -> None:
    splits = build().splits
    assert list(splits) == ["train", "val", "test"]
    assert all(len(split) for split in splits.values())
    seen = [(memory(split), i) for split in splits.values() for i in split.indices.tolist()]
    assert len(seen) == len(set(seen))
    assert len({memory(split) for split in splits.values()}) in (1, 2)  # 2: an official test split


def test_a_datamodule_that_was_read_can_be_pickled(build: Build) -> None:
    """`ddp_spawn` sends it to its processes."""
    module = build()
    again = pickle.loads(pickle.dumps(module))
    assert {part: len(split) for part, split in again.splits.items()} == {
        part: len(split) for part, split in module.splits.items()
    }


def test_the_split_is_the_same_every_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build().splits
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    torch.rand(3)
    assert all(torch.equal(split.indices, first[name].indices) for name, split in build().splits.items())


@pytest.mark.parametrize("split", ["train", *EVALUATION])
def test_a_batch_matches_the_facts(build: Build, split: str) -> None:
    module = build()
    batch = next(iter(loader(module, split)))
    inputs, targets = module.on_after_batch_transfer(batch, 0)
    size = module.batch_size if split == "train" else module.eval_batch_size
    inputs, *lengths = tensors(inputs)
    if lengths:
        assert lengths[0].shape == (len(inputs),)
        assert 1 <= lengths[0].min() <= lengths[0].max() == inputs.shape[1]
    assert all(stated in (None, found) for stated, found in zip(module.input_shape, inputs.shape[1:], strict=True))
    assert bool(lengths) == (None in module.input_shape)
    assert len(inputs) == len(targets) <= size
    assert inputs.isfinite().all()
    if isinstance(module, TextDataModule):
        assert inputs.dtype == torch.int64
        assert 0 <= inputs.min() <= inputs.max() < module.vocab_size
    else:
        assert inputs.dtype == torch.float32
    if module.num_classes is None:
        ahead = (module.horizon, len(module.channel_names)) if forecasts(module) else (module.num_targets,)
        assert targets.shape == (len(inputs), *ahead)
        assert targets.dtype == torch.float32
        assert targets.isfinite().all()
        return
    assert targets.shape == (len(inputs),)
    assert targets.dtype == torch.int64
    assert 0 <= targets.min() <= targets.max() < module.num_classes


def test_data_are_stored_and_transferred_in_their_smallest_dtype(build: Build) -> None:
    module = build()
    inputs, targets = next(iter(module.train_dataloader()))
    float32 = isinstance(module, TableDataModule | SeriesFolder) or forecasts(module)
    smallest = torch.float32 if float32 else torch.int16 if isinstance(module, AudioDataModule) else torch.uint8
    assert tensors(inputs)[0].dtype == smallest
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


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val", "predict"])
def test_workers_do_not_change_the_batches(build: Build, split: str) -> None:
    # Of fewer samples, so that a process that reads them is soon done.
    alone, with_workers = build(), build(num_workers=2)
    for module in (alone, with_workers):
        for name, part in module.splits.items():
            module.splits[name] = copy(part)
            module.splits[name].indices = part.indices[:40]
    first, second = loader(alone, split), loader(with_workers, split)
    assert [content(first, epoch) for epoch in (0, 1)] == [content(second, epoch) for epoch in (0, 1)]
    assert second.num_workers == 2


@pytest.mark.parametrize("split", EVALUATION)
def test_evaluation_is_in_order_and_complete(build: Build, split: str) -> None:
    module = build()
    part = module.splits["test" if split == "predict" else split]
    if isinstance(part, RaggedDataset) and split != "predict":  # those of like length together, in any order
        order = torch.cat(list(loader(module, split).batch_sampler))
        longest = [part.split_lengths[batch].max() for batch in loader(module, split).batch_sampler]
        shortest = [part.split_lengths[batch].min() for batch in loader(module, split).batch_sampler]
        by_length = sorted(zip(shortest, longest, strict=True))
        assert all(before[1] <= after[0] for before, after in pairwise(by_length))
        assert sorted(order.tolist()) == list(range(len(part)))
        return
    samples = [
        (*(t[i] for t in tensors(inputs)), targets[i])
        for inputs, targets in loader(module, split)
        for i in range(len(targets))
    ]
    assert len(samples) == len(part)
    for (first, *rest), index in zip(samples, range(len(part)), strict=True):
        inputs, target = part[index]
        expected, *others = (*tensors(inputs), target)
        first = first[: len(expected)] if rest else first  # without the padding
        torch.testing.assert_close(first, expected, rtol=0, atol=0, equal_nan=True)  # NaN: missing in a table
        assert [t.tolist() for t in rest] == [t.tolist() for t in others]


def test_training_contains_each_sample_once(build: Build) -> None:
    module = build()
    part = module.splits["train"]
    targets = torch.cat([targets for _, targets in module.train_dataloader()])
    assert sorted(targets.flatten().tolist()) == sorted(part.targets[part.indices].flatten().tolist())
    batches = loader(module, "train").batch_sampler
    assert sorted(torch.cat(list(batches)).tolist()) == list(range(len(part)))


def test_images_accept_augmentations(build: Build) -> None:
    if not isinstance(build(), ImageDataModule):
        pytest.skip("of images only")
    module = build(augment=[RandomShift(1)])
    assert isinstance(module, ImageDataModule)
    assert len(module.augment) == 1


class Batches(LightningModule):
    """Predicts what it is given."""

    def predict_step(self, batch: Any) -> Any:
        return batch


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_samples_in_new_files_are_predicted_as_in_the_test_split(build: Build, tmp_path: Path) -> None:
    """This works without the training files, with only the state of a checkpoint."""
    trained = build()
    if isinstance(trained, ArrayData):
        pytest.skip("reads no files")
    chosen = torch.arange(1 if forecasts(trained) else 3)
    expected, _ = trained.on_after_batch_transfer(trained.splits["test"][chosen], 0)
    new = tmp_path / "new"
    write_new(trained, new, chosen)
    for path in set(tmp_path.iterdir()) - {new}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fresh = build(predict_path=str(next(new.iterdir()) if len(list(new.iterdir())) == 1 else new))
    fresh.load_state_dict(trained.state_dict())
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    ((found, _),) = Trainer(accelerator="cpu", **quiet).predict(Batches(), datamodule=fresh)
    for one, other in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not fresh.splits
    assert list(tmp_path.iterdir()) == [new]


def test_inputs_in_memory_are_read_like_the_test_split(build: Build, tmp_path: Path) -> None:
    """This works without the training files as well, and what `preparation` returns needs no DataModule."""
    trained = build()
    chosen = torch.arange(1 if forecasts(trained) else 3)
    raw = trained.splits["test"][chosen]
    expected, _ = trained.on_after_batch_transfer(raw, 0)
    inputs = in_memory(trained, chosen)
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fresh = build() if isinstance(trained, ArrayData) else build(predict_path="new")
    fresh.load_state_dict(trained.state_dict())
    read, _ = fresh.read_inputs(inputs)[torch.arange(len(chosen))]
    prepared = fresh.preparation()(read)
    for found, other in zip(tensors(prepared), tensors(expected), strict=True):
        torch.testing.assert_close(found, other, rtol=0, atol=0)


def in_memory(module: ArrayDataModule, chosen: Tensor) -> Any:
    """Return these samples of the test split as a user holds them in memory."""
    inputs = module.splits["test"][chosen][0]
    if isinstance(module, TextDataModule):
        samples, splits = module.read()
        return [samples[i].text for i in splits["test"][chosen].tolist()]
    if isinstance(module, TableDataModule):
        assert isinstance(inputs, Tensor)
        kinds: list[list[str] | None] = [None] * module.table.num_numeric + module.table.categories
        rows = [[cell(*pair) or None for pair in zip(row, kinds, strict=True)] for row in inputs.tolist()]
        values = [[v if k or v is None else float(v) for v, k in zip(row, kinds, strict=True)] for row in rows]
        return [dict(zip(module.table.columns, row, strict=True)) for row in values]
    if isinstance(inputs, Tensor):
        return inputs.numpy()
    sequences, lengths = inputs
    return [sequence[:length].numpy() for sequence, length in zip(sequences, lengths, strict=True)]


def write_new(module: ArrayDataModule, folder: Path, chosen: Tensor) -> None:
    """Write these samples of the test split as people have them: a file of rows, or a file each."""
    folder.mkdir()
    part = module.splits["test"]
    if isinstance(module, TextDataModule):
        samples, splits = module.read()
        texts = [samples[i].text for i in splits["test"][chosen].tolist()]
        for number, text in enumerate(["\n".join(texts)] if isinstance(module, Names) else texts):
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        return
    if isinstance(module, TableDataModule):
        values = part[chosen][0].tolist()
        kinds: list[list[str] | None] = [None] * module.table.num_numeric + module.table.categories
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
            written = [[cell(*pair) for pair in zip(row, kinds, strict=True)] for row in values]
            csv.writer(file).writerows([module.table.columns, *written])
        return
    for index in chosen.tolist():
        sample = tensors(part[index][0])[0]
        if isinstance(module, ImageDataModule):
            pixels = (sample * (255 / (16 if isinstance(module, Digits) else 255))).round().to(torch.uint8)
            Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy()).save(folder / f"{index}.png")
        elif isinstance(module, AudioDataModule):
            write_wav(folder / f"{index}.wav", sample.numpy(), module.sample_rate)
        else:
            time = "date" if forecasts(module) else None
            write_series(folder / f"{index}.csv", sample.double().numpy(), module.scale.names, time)


def cell(value: float, texts: list[str] | None) -> str:
    """A value of a table as it stands in a file: a number, or the one of these texts whose number it is."""
    if texts is None:
        return "" if math.isnan(value) else repr(value)
    return [*texts, ""][int(value)]


def test_forecasts_begin_strictly_after_what_they_are_made_from(build: Build) -> None:
    """By the values of the series themselves: its steps are told apart by them."""
    module = build()
    if not forecasts(module):
        pytest.skip("of forecasts only")
    values, _, stretches = module.read()
    step_of = {row.astype("float32").tobytes(): step for step, row in enumerate(values)}
    for split, (start, end) in zip(("train", "val", "test"), stretches, strict=True):
        forecast = set()
        for inputs, targets in loader(module, split):
            for window, target in zip(inputs.numpy(), targets.numpy(), strict=True):
                seen = [step_of[row.tobytes()] for row in window]
                ahead = [step_of[row.tobytes()] for row in target]
                assert seen + ahead == list(range(seen[0], seen[0] + module.look_back + module.horizon))
                forecast |= set(ahead)
        # Targets are the steps of their split, all of them, but for those that training's first window looks back on.
        assert forecast == set(range(start or module.look_back, end))


def test_a_report_can_show_the_data(build: Build) -> None:
    module = build()
    described = json.loads(json.dumps(module.describe_data(), allow_nan=False))
    for part in ("train", "test"):
        assert described["splits"][part]["samples"] == len(module.splits[part])
        examples = module.choose_examples(part, 5)
        assert examples == module.choose_examples(part, 5)
        for contents in (module.raw_input(part, position) for position in examples):
            assert [*contents] == [module.input_kind]
        positions = torch.tensor([2, 0])
        all_values = module.slice_values(part, torch.arange(len(module.splits[part])))
        few = module.slice_values(part, positions)
        assert few == {name: [values[2], values[0]] for name, values in all_values.items()}
