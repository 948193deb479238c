from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from litnets.data import Augmentation, ImageDataModule, RandomFlip
from litnets.data.core.batching import ArrayDataset
from litnets.data.images.base import channel_statistics
from litnets.errors import InputError

Batch = tuple[Tensor, Tensor]


class RandomColors(ImageDataModule):
    """25 training, 10 validation and 11 test samples of 3x4x5 random pixels; the target is the sample's number."""

    input_shape = (3, 4, 5)
    num_classes = 46

    def load(self) -> dict[str, ArrayDataset]:
        pixels = np.random.default_rng(0).integers(0, 256, (46, *self.input_shape), dtype=np.uint8)
        inputs, targets = torch.from_numpy(pixels), torch.arange(46, dtype=torch.uint8)
        bounds = {"train": (0, 25), "val": (25, 35), "test": (35, 46)}
        return {name: ArrayDataset(inputs, targets, torch.arange(*ends)) for name, ends in bounds.items()}


class Invert(Augmentation):
    """An augmentation that changes every pixel visibly."""

    def __call__(self, images: Tensor) -> Tensor:
        return 255 - images


class Recorder(LightningModule):
    """Records every batch by stage, and trains a single unused weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Batch]] = {"train": [], "sanity": [], "val": [], "test": [], "predict": []}

    def training_step(self, batch: Batch) -> Tensor:
        self.seen["train"].append(batch)
        return self.weight

    def validation_step(self, batch: Batch) -> None:
        self.seen["sanity" if self.trainer.sanity_checking else "val"].append(batch)

    def test_step(self, batch: Batch) -> None:
        self.seen["test"].append(batch)

    def predict_step(self, batch: Batch) -> Tensor:
        self.seen["predict"].append(batch)
        return batch[1]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def ready(**arguments: Any) -> RandomColors:
    data = RandomColors(**{"batch_size": 8, "eval_batch_size": 4} | arguments)
    data.prepare_data()
    data.setup()
    return data


def trainer(**arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", **quiet, enable_model_summary=False, **arguments)


def targets_of(loader: Any) -> list[list[int]]:
    return [targets.tolist() for _, targets in loader]


# Lightning recommends workers, but data in memory need none.
ignores_workers = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


def test_evaluation_needs_a_sample_per_process_but_prediction_does_not() -> None:
    """There are 11 test samples. A process without a batch would block the others."""
    data = ready()
    data.trainer = SimpleNamespace(global_rank=11, world_size=12, overfit_batches=0)
    with pytest.raises(InputError, match="test: each of 12 processes needs at least one sample, but there are 11"):
        data.test_dataloader()
    assert [t for batch in targets_of(data.predict_dataloader()) for t in batch] == list(range(35, 46))
    data.trainer = SimpleNamespace(global_rank=10, world_size=11, overfit_batches=0)
    assert targets_of(data.predict_dataloader()) == targets_of(data.test_dataloader()) == [[45]]


# Statistics


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_match_numpy(channels: int) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (5000, channels, 3, 4), dtype=np.uint8)  # more than one chunk
    indices = random.permutation(5000)[:4500]
    mean, std = channel_statistics(torch.from_numpy(pixels), torch.from_numpy(indices))
    np.testing.assert_allclose(mean, pixels[indices].mean((0, 2, 3), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, pixels[indices].std((0, 2, 3), dtype=np.float64), rtol=1e-12)


def test_std_of_a_constant_channel_is_1() -> None:
    images = torch.full((4, 2, 3, 3), 7, dtype=torch.uint8)
    images[:2, 1] = 9
    mean, std = channel_statistics(images, torch.arange(4))
    assert (mean, std) == ([7, 8], [1, 1])


def test_statistics_use_only_the_training_split() -> None:
    data = ready()
    pixels = data.splits["train"].inputs[:25].numpy()
    np.testing.assert_allclose(data.mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std, pixels.std((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(("split", "changes"), [("train", True), ("val", False), ("test", False)])
def test_pixels_of_other_splits_do_not_change_the_statistics(
    split: str, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ready().state_dict()
    splits = RandomColors().load()
    splits[split].inputs[splits[split].indices] //= 2
    monkeypatch.setattr(RandomColors, "load", lambda self: splits)
    assert (ready().state_dict() != before) == changes


def test_normalizing_gives_the_training_split_mean_0_and_standard_deviation_1() -> None:
    data = ready()
    inputs = data.prepare(data.splits["train"].inputs[:25])
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_normalize_supports_gradients_after_inference_mode() -> None:
    data = ready()
    images = torch.ones(2, 3, 4, 5)
    with torch.inference_mode():
        data.prepare(images)
    images.requires_grad_()
    data.prepare(images).sum().backward()
    expected = (1 / torch.tensor(data.std)).view(-1, 1, 1).expand(2, 3, 4, 5)
    assert torch.allclose(images.grad, expected)


def test_the_preparation_is_built_once_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(RandomColors, "preparation", lambda self: built.append(0) or nn.Identity())
    data = ready()
    for device, count in (("cpu", 1), ("cpu", 1), ("meta", 2), ("cpu", 3)):
        assert data.prepare(torch.ones(2, 3, device=device)).device.type == device
        assert len(built) == count


@pytest.mark.parametrize("setup_first", [True, False])
def test_statistics_of_a_checkpoint_replace_those_of_the_data(setup_first: bool) -> None:
    state = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    data = RandomColors()
    images = torch.full((1, 3, 1, 1), 9, dtype=torch.uint8)
    if setup_first:
        data.setup()
        data.prepare(images)
    data.load_state_dict(state)
    data.setup()
    assert data.state_dict() == state
    assert data.prepare(images).flatten().tolist() == pytest.approx([8 / 4, 7 / 5, 6 / 6])


def test_state_dict_contains_plain_floats() -> None:
    state = ready().state_dict()
    assert {type(number) for numbers in state.values() for number in numbers} == {float}


# Loaders


def test_data_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ready()
    splits = data.splits
    data.setup("fit")
    data.setup("test")
    assert data.splits is splits


@pytest.mark.parametrize(
    ("command", "path", "downloads"), [("predict", "new", 0), ("predict", None, 1), ("fit", "new", 1)]
)
def test_training_files_are_downloaded_unless_new_samples_are_predicted(
    command: str, path: str | None, downloads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(RandomColors, "download", lambda self: calls.append("download"))
    data = RandomColors(predict_path=path)
    data.trainer = SimpleNamespace(predicting=command == "predict")  # type: ignore[assignment]
    data.prepare_data()
    assert len(calls) == downloads


def test_two_modules_share_nothing() -> None:
    one, other = RandomColors(), RandomColors()
    one.setup()
    assert one.mean
    assert (other.splits, other.augment, "mean" in vars(other)) == ({}, [], False)


def test_only_training_is_shuffled_and_batch_sizes_match() -> None:
    data = ready()
    train = targets_of(data.train_dataloader())
    assert [len(batch) for batch in train] == [8, 8, 8, 1]
    assert sum(train, []) != sorted(sum(train, [])) == list(range(25))  # noqa: RUF017 (a few)
    assert targets_of(data.val_dataloader()) == [[25, 26, 27, 28], [29, 30, 31, 32], [33, 34]]
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        assert targets_of(loader) == [[35, 36, 37, 38], [39, 40, 41, 42], [43, 44, 45]]


def test_drop_last_drops_only_the_last_training_batch() -> None:
    data = ready(drop_last=True)
    assert [len(batch) for batch in targets_of(data.train_dataloader())] == [8, 8, 8]
    assert len(data.train_dataloader()) == 3
    assert [len(batch) for batch in targets_of(data.val_dataloader())] == [4, 4, 2]


@pytest.mark.parametrize("split", ["val", "test"])
def test_val_and_test_splits_can_be_empty(split: str) -> None:
    data = ready()
    data.splits[split].indices = torch.tensor([], dtype=torch.int64)
    loader = getattr(data, f"{split}_dataloader")()
    assert list(loader) == []
    assert len(loader) == 0


def test_the_order_depends_only_on_the_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {}
    for seed in ("1", "2"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        results[seed] = targets_of(ready().train_dataloader())
        torch.rand(3)
        assert targets_of(ready().train_dataloader()) == results[seed]
    assert results["1"] != results["2"]


@pytest.mark.parametrize("world_size", [2, 3])
def test_samples_are_distributed_over_processes(world_size: int) -> None:
    seen: dict[str, list[list[int]]] = {"train": [], "val": [], "test": [], "predict": []}
    for rank in range(world_size):
        data = ready()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, overfit_batches=0)  # type: ignore[assignment]
        for split, parts in seen.items():
            parts.append([i for batch in targets_of(getattr(data, f"{split}_dataloader")()) for i in batch])
    for split, indices in {"val": range(25, 35), "test": range(35, 46), "predict": range(35, 46)}.items():
        assert sorted(i for part in seen[split] for i in part) == list(indices)
    assert {len(part) for part in seen["train"]} == {25 // world_size}
    assert len({i for part in seen["train"] for i in part}) == 25 // world_size * world_size


def test_class_counts_use_the_training_split() -> None:
    assert RandomColors().class_counts == [1] * 25 + [0] * 21


# Under a real Trainer


@ignores_workers
def test_epochs_have_different_orders_that_a_seed_reproduces() -> None:
    def epochs() -> list[list[int]]:
        module = Recorder()
        trainer(max_epochs=2).fit(module, RandomColors(batch_size=25))
        return [targets.tolist() for _, targets in module.seen["train"]]

    first, second = epochs()
    assert first != second
    assert sorted(first) == sorted(second) == list(range(25))
    assert epochs() == [first, second]


@ignores_workers
def test_overfit_batches_are_the_same_in_every_epoch() -> None:
    module = Recorder()
    trainer(max_epochs=3, overfit_batches=2).fit(module, RandomColors(batch_size=4))
    seen = [tuple(targets.tolist()) for _, targets in module.seen["train"]]
    assert len(seen) == 6
    assert len(set(seen)) == 2
    assert seen[:2] == seen[2:4] == seen[4:]


@ignores_workers
def test_only_training_is_augmented() -> None:
    module, data = Recorder(), RandomColors(augment=[Invert()], batch_size=25)
    runner = trainer(max_epochs=1)
    runner.fit(module, data)
    runner.validate(module, data)
    runner.test(module, data)
    runner.predict(module, data)
    pixels = RandomColors().load()["train"].inputs
    assert all(batches for batches in module.seen.values())
    for stage, batches in module.seen.items():
        for inputs, targets in batches:
            raw = pixels[targets]
            assert torch.equal(inputs, data.prepare(255 - raw if stage == "train" else raw)), stage


class Noisy(RandomColors):
    """Changes its batches at random in a hook."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
        return images + torch.rand(1), targets


class RandomCallback(Callback):
    """Samples a random number when a batch starts."""

    def __init__(self) -> None:
        self.samples: list[Tensor] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.samples.append(torch.rand(1))


@ignores_workers
@pytest.mark.parametrize("make", [RandomColors, lambda: RandomColors(augment=[RandomFlip()]), Noisy])
def test_random_changes_of_a_batch_use_the_seed_of_the_batch(make: Callable[[], RandomColors]) -> None:
    seen = []
    for before in (1, 2):
        torch.manual_seed(before)
        module, callback = Recorder(), RandomCallback()
        trainer(max_epochs=2, callbacks=[callback]).fit(module, make())
        seen.append([inputs for inputs, _ in module.seen["train"]] + callback.samples)
    assert all(map(torch.equal, *seen))
    assert len(seen[0]) > 3


def test_augmentations_are_applied_in_order_to_raw_pixels() -> None:
    calls = []

    class Note(Augmentation):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, images: Tensor) -> Tensor:
            calls.append((self.name, images.dtype, self.epoch))
            return images

    data = ready(augment=[Note("first"), RandomFlip(), Note("second")])
    data.trainer = SimpleNamespace(training=True, current_epoch=3)  # type: ignore[assignment]
    data.on_after_batch_transfer(data.splits["train"][torch.arange(4)], 0)
    assert calls == [("first", torch.uint8, 3), ("second", torch.uint8, 3)]


@ignores_workers
def test_predictions_cover_all_test_samples_in_order() -> None:
    results = trainer().predict(Recorder(), RandomColors(eval_batch_size=4))
    assert results is not None
    assert torch.cat(results).tolist() == list(range(35, 46))  # type: ignore[arg-type]


@ignores_workers
def test_a_checkpoint_contains_the_statistics(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data, runner = Recorder(), RandomColors(), trainer(max_epochs=1)
    runner.fit(module, data)
    runner.save_checkpoint(tmp_path / "some.ckpt")
    splits = RandomColors().load()
    splits["train"].inputs //= 2
    monkeypatch.setattr(RandomColors, "load", lambda self: splits)
    other = RandomColors()
    trainer().test(Recorder(), other, ckpt_path=tmp_path / "some.ckpt", weights_only=True, verbose=False)
    assert (other.mean, other.std) == (data.mean, data.std)


def test_a_batch_on_the_device_is_not_moved() -> None:
    data = RandomColors()
    batch = (torch.zeros(3), torch.zeros(3))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert [part.device.type for part in moved] == ["meta", "meta"]
