"""What the DataModules for segmentation promise: the contract of test_contract.py, for images of any size."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from litnets.data import (
    AlternatingFlip,
    Augmentation,
    ColorJitter,
    Cutout,
    Noise,
    RandomAffine,
    RandomFlip,
    RandomShift,
    SegmentationDataModule,
    Shapes,
)
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.new_samples import Split
from litnets.data.core.splits import split_indices
from litnets.data.images.crops import IGNORE_INDEX, MaskedCrops, MaskedImages, TiledImages, channel_sums
from litnets.errors import InputError
from tests.helpers.tiny_masks import image_and_mask, write_masked_images

SIZES = [(23, 31), (9, 40), (16, 12), (33, 7), (50, 50), (16, 25), (5, 5), (40, 13), (17, 24), (20, 20)]


class MixedSizes(SegmentationDataModule):
    """Images of several sizes in memory, whose pixels tell where they are: channel 0 is the row, 1 the column."""

    num_classes, class_names, input_shape = 3, ("a", "b", "c"), (3, 16, 12)

    def load(self) -> dict[str, Split]:
        images = [located(number, *size) for number, size in enumerate(SIZES)]
        masks = [image.sum(0, dtype=torch.int64).remainder(3).to(torch.uint8) for image in images]
        pairs = MaskedImages(
            images,
            masks,
            torch.tensor(SIZES),
            torch.stack([channel_sums(image) for image in images]),
            torch.stack([mask.flatten().bincount(minlength=3) for mask in masks]),
        )
        split = split_indices(None, len(SIZES), self.split_spec)
        return self.make_splits(pairs, self.assign_splits(Fingerprint.of_verified(len(SIZES)), lambda: split))


def located(number: int, height: int, width: int) -> Tensor:
    """Return an image, the channels of which are 1 + row, 1 + column and 1 + number."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return 1 + torch.stack([rows, columns, torch.full_like(rows, number)]).to(torch.uint8)


def mixed(**arguments: Any) -> MixedSizes:
    data = MixedSizes(**{"batch_size": 4, "eval_batch_size": 3} | arguments)
    if "predict_path" not in arguments:
        data.setup()
    return data


def content(loader: Any, epoch: int = 0) -> list[bytes]:
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [images.numpy().tobytes() + masks.numpy().tobytes() for images, masks in loader]


def counted_pixels(images: Tensor, masks: Tensor) -> list[tuple[int, ...]]:
    """Return row, column and image of each pixel that counts, whose mask is checked."""
    counts = masks != IGNORE_INDEX
    pixels = images.movedim(1, 3)[counts].int()
    assert torch.equal(pixels.sum(1).remainder(3), masks[counts].int())
    return [tuple(pixel) for pixel in (pixels - 1).tolist()]


@pytest.mark.parametrize("split", ["val", "test"])
def test_each_pixel_of_evaluation_counts_exactly_once(split: str) -> None:
    data = mixed(val_size=4, test_size=4)
    part = data.splits[split]
    assert isinstance(part, MaskedCrops)
    counted = [pixel for batch in getattr(data, f"{split}_dataloader")() for pixel in counted_pixels(*batch)]
    members = part.members.tolist()
    expected = [(row, column, i) for i in members for row in range(SIZES[i][0]) for column in range(SIZES[i][1])]
    assert sorted(counted) == sorted(expected)


def test_training_crops_are_random_windows_of_the_images() -> None:
    data = mixed(val_size=1, test_size=1, split_seed=1)
    train = data.splits["train"]
    assert isinstance(train, MaskedCrops)
    corners = set()
    loader = data.train_dataloader()
    for epoch in range(20):
        loader.batch_sampler.sampler.set_epoch(epoch)
        images, masks = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert len(images) == len(train)
        numbers = images[:, 2, 0, 0].int() - 1
        assert sorted(numbers.tolist()) == sorted(train.tiles[:, 0].tolist())
        for image, mask, number in zip(images, masks, numbers.tolist(), strict=True):
            top, left = (image[:2, 0, 0].int() - 1).tolist()
            height, width = (min(side, tile) for side, tile in zip(SIZES[number], (16, 12), strict=True))
            expected = located(number, *SIZES[number])[:, top : top + height, left : left + width]
            assert torch.equal(image[:, :height, :width], expected)
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()
            assert bool((mask[:height, :width] < 3).all())
            assert bool((mask[height:] == IGNORE_INDEX).all())
            assert bool((mask[:, width:] == IGNORE_INDEX).all())
            if number == 4:
                corners.add((top, left))
    assert 4 in train.members
    tops, lefts = ({corner[i] for corner in corners} for i in (0, 1))
    assert min(tops) == min(lefts) == 0
    assert (max(tops), max(lefts)) == (50 - 16, 50 - 12)
    assert len(corners) > 150


def test_the_crops_are_a_function_of_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = set()
    for seed in "12":
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        for epoch in (0, 1):
            order = content(mixed().train_dataloader(), epoch)
            torch.rand(3)
            assert content(mixed().train_dataloader(), epoch) == order
            orders.add(tuple(order))
    assert len(orders) == 4


def test_a_resumed_epoch_continues_with_the_same_crops() -> None:
    complete = content(mixed().train_dataloader(), epoch=2)
    resumed = mixed()
    resumed.start_at(2, 3)
    assert content(resumed.train_dataloader(), epoch=2) == complete[3:]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val", "predict"])
def test_workers_do_not_change_the_batches(split: str) -> None:
    alone, with_workers = (getattr(mixed(num_workers=n), f"{split}_dataloader")() for n in (0, 2))
    assert [content(alone, epoch) for epoch in (0, 1)] == [content(with_workers, epoch) for epoch in (0, 1)]


def test_facts() -> None:
    data = mixed(val_size=0.0, test_size=3)
    train = data.splits["train"]
    assert isinstance(train, MaskedCrops)
    images = [located(i, *SIZES[i]) for i in train.members.tolist()]
    pixels = torch.cat([image.flatten(1) for image in images], 1).double()
    assert data.mean == pytest.approx(pixels.mean(1).tolist())
    assert data.std == pytest.approx(pixels.std(1, correction=0).tolist())
    assert data.class_counts == pixels.sum(0).remainder(3).long().bincount().tolist()
    assert data.class_shares == pytest.approx([count / pixels.shape[1] for count in data.class_counts])
    assert data.ignore_index == IGNORE_INDEX


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_batch_matches_the_facts(split: str) -> None:
    data = mixed()
    batch = next(iter(getattr(data, f"{split}_dataloader")()))
    assert [values.dtype for values in batch] == [torch.uint8, torch.uint8]
    images, masks = data.on_after_batch_transfer(batch, 0)
    assert images.shape[1:] == data.input_shape
    assert masks.shape == (len(images), *data.input_shape[1:])
    assert (images.dtype, masks.dtype) == (torch.float32, torch.int64)


def test_a_datamodule_that_was_read_can_be_pickled() -> None:
    data = mixed()
    again = pickle.loads(pickle.dumps(data))
    assert content(again.val_dataloader()) == content(data.val_dataloader())


class Batches(LightningModule):
    """Predicts what it is given."""

    def predict_step(self, batch: Any) -> Any:
        return batch


QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def unprepare(data: SegmentationDataModule, images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    return (images * std + mean).round().to(torch.uint8)


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_prediction_takes_overlapping_tiles_of_the_test_split() -> None:
    data = mixed(test_size=4)
    batches = Trainer(accelerator="cpu", **QUIET).predict(Batches(), datamodule=data)
    tiles = data.predicted
    assert isinstance(tiles, TiledImages)
    assert tiles.names == ["image_0", "image_1", "image_2", "image_3"]
    test = data.splits["test"]
    assert isinstance(test, MaskedCrops)
    assert [tuple(size) for size in tiles.sizes.tolist()] == [SIZES[i] for i in test.members.tolist()]
    images = torch.cat([unprepare(data, batch[0]) for batch in batches])
    assert len(images) == len(tiles) > len(test)
    for image, (index, top, left) in zip(images, tiles.tiles.tolist(), strict=True):
        part = tiles.image(index)[:, top : top + 16, left : left + 12]
        assert torch.equal(image[:, : part.shape[1], : part.shape[2]], part)
    assert data.sample_columns() == {"file": tiles.names}


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_a_process_predicts_complete_images(processes: int) -> None:
    data = mixed(test_size=5)
    tiles = data.test_for_prediction()
    assert isinstance(tiles, TiledImages)
    seen = []
    for rank in range(processes):
        data._process = lambda rank=rank: (rank, processes)  # type: ignore[misc, method-assign]
        sampler = data._sampler(tiles, shuffle=False)
        order = list(sampler)
        assert len(sampler) == len(order)
        assert order == sorted(order)
        seen += order
    times = processes if processes > 5 else 1  # with too few images, each process predicts all of them
    assert sorted(seen) == sorted(list(range(len(tiles))) * times)


def test_new_images_of_any_size_are_read_without_the_training_data(tmp_path: Path) -> None:
    state = mixed().state_dict()
    for number, size in enumerate(SIZES[:3]):
        Image.fromarray(located(number, *size).movedim(0, 2).numpy()).save(tmp_path / f"{number}.png")
    data = mixed(predict_path=str(tmp_path))
    data.load_state_dict(state)
    tiles = data.load_predict(tmp_path)
    assert isinstance(tiles, TiledImages)
    assert tiles.names == ["0.png", "1.png", "2.png"]
    assert [tuple(size) for size in tiles.sizes.tolist()] == SIZES[:3]
    assert all(torch.equal(tiles.image(i), located(i, *SIZES[i])) for i in range(3))
    assert not data.splits


def test_labeled_files_are_evaluated_as_in_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(tmp_path, SIZES[:3], values=(0, 2, 255))
    data = mixed(predict_path=str(tmp_path), eval_batch_size=100)
    data.load_state_dict(mixed().state_dict())
    data.evaluate_on(tmp_path, MixedSizes.class_names)
    ((images, masks),) = data.test_dataloader()
    assert images.shape[1:] == (3, 16, 12)
    assert set(masks.unique().tolist()) == {0, 2, IGNORE_INDEX}
    counted = sum(int((image_and_mask(i, *size)[1] < 2).sum()) for i, size in enumerate(SIZES[:3]))
    assert (masks != IGNORE_INDEX).sum() == counted
    assert capsys.readouterr().out == "data: no sample of b\n"


def as_files(images: list[Tensor], folder: Path) -> Any:
    for number, image in enumerate(images):
        Image.fromarray(image.movedim(0, 2).numpy()).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(len(images))]


@pytest.mark.parametrize("form", ["files", "PIL", "channels first", "channels last", "mixed"])
def test_inputs_in_memory(form: str, tmp_path: Path) -> None:
    data = mixed()
    images = [located(i, *SIZES[i]) for i in range(4)]
    last = [image.movedim(0, 2).numpy() for image in images]
    files = as_files(images, tmp_path)
    forms: dict[str, Any] = {
        "files": files,
        "PIL": [Image.fromarray(array) for array in last],
        "channels first": images,
        "channels last": last,
        "mixed": [files[0], Image.fromarray(last[1]), images[2], last[3]],
    }
    tiles = data.read_inputs(forms[form])
    assert isinstance(tiles, TiledImages)
    assert len(tiles.names) == 4
    assert all(torch.equal(tiles.image(i), images[i]) for i in range(4))
    assert tiles[torch.arange(3)][0].shape == (3, 3, 16, 12)


def test_images_that_do_not_fit_in_memory_are_read_again(tmp_path: Path) -> None:
    images = [located(i, *SIZES[i]) for i in range(4)]
    files = as_files(images, tmp_path)
    all_kept, some_kept = mixed(), mixed()
    some_kept.memory_budget = (images[0].nbytes + images[1].nbytes) / 1e9
    first, second = all_kept.read_inputs(files), some_kept.read_inputs(files)
    assert isinstance(second, TiledImages)
    assert len(second.images.cache) < 4  # type: ignore[attr-defined]
    order = torch.arange(len(first))
    assert torch.equal(first[order][0], second[order][0])  # type: ignore[arg-type]
    Path(files[3]).unlink()
    Path(files[2]).unlink()
    with pytest.raises(InputError, match=r"\d\.png can no longer be read: No such file"):
        second.images[2], second.images[3]


@pytest.mark.parametrize("shape", [(30, 40), (4, 30, 40), (30, 40, 5), (2, 3, 4, 5, 6)])
def test_an_array_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected an image of shape \(3, height, width\), of any size"):
        mixed().read_inputs(np.zeros(shape, np.uint8))


class Invert(Augmentation):
    def __call__(self, images: Tensor) -> Tensor:
        return 255 - images


def test_an_augmentation_that_knows_nothing_of_masks_is_refused() -> None:
    with pytest.raises(InputError, match="Invert does not define how masks change"):
        Shapes(augment=[RandomFlip(), Invert()])


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_outside_its_range_is_refused(overlap: float) -> None:
    with pytest.raises(InputError, match="overlap: expected a fraction in"):
        Shapes(overlap=overlap)


GEOMETRIC = [
    RandomFlip(),
    AlternatingFlip(),
    RandomShift(3),
    RandomShift(3, "reflect"),
    RandomAffine(90, 0.3, 0.3),
]


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=lambda item: type(item).__name__)
def test_images_and_masks_move_together(augmentation: Augmentation) -> None:
    """Each class has a color, and moved pixels still have the color of their class, but for those between two."""
    torch.manual_seed(0)
    masks = torch.zeros(32, 24, 20, dtype=torch.uint8)
    masks[:, 4:14, 3:9], masks[:, 12:20, 11:18] = 1, 2
    colors = torch.tensor([60, 140, 250], dtype=torch.uint8)
    images = colors[masks.long()].unsqueeze(1)
    moved, moved_masks = augmentation.with_masks(images, masks, IGNORE_INDEX)
    assert moved_masks.dtype == torch.uint8
    assert not torch.equal(moved_masks, masks)
    assert set(moved_masks.unique().tolist()) <= {0, 1, 2, IGNORE_INDEX}
    outside = moved_masks == IGNORE_INDEX
    fills = isinstance(augmentation, RandomAffine) or getattr(augmentation, "padding", None) == "zeros"
    assert bool(outside.any()) == fills
    expected = torch.where(outside, 0, colors[moved_masks.clamp(max=2).long()])
    differ = (moved.squeeze(1).int() - expected.int()).abs()
    interpolates = isinstance(augmentation, RandomAffine)
    assert (differ > 0).float().mean() < (0.35 if interpolates else 1e-9)
    if interpolates:  # pixels between two classes, whose color is a mixture
        assert (differ > 40).float().mean() < 0.15


@pytest.mark.parametrize("augmentation", [Noise(), Cutout(4), ColorJitter()], ids=lambda item: type(item).__name__)
def test_colors_change_without_the_masks(augmentation: Augmentation) -> None:
    images = torch.randint(0, 256, (8, 3, 12, 12), dtype=torch.uint8)
    masks = torch.randint(0, 3, (8, 12, 12), dtype=torch.uint8)
    torch.manual_seed(0)
    changed, same = augmentation.with_masks(images, masks, IGNORE_INDEX)
    torch.manual_seed(0)
    assert torch.equal(changed, augmentation(images))
    assert torch.equal(same, masks)


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=lambda item: type(item).__name__)
def test_an_image_moves_as_it_does_without_a_mask(augmentation: Augmentation) -> None:
    images = torch.randint(0, 256, (8, 3, 12, 12), dtype=torch.uint8)
    torch.manual_seed(0)
    alone = augmentation(images)
    torch.manual_seed(0)
    assert torch.equal(augmentation.with_masks(images, images[:, 0], IGNORE_INDEX)[0], alone)


def test_training_batches_are_augmented_and_others_are_not() -> None:
    class Record(LightningModule):
        """Keeps the batches that it is given."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen: dict[str, Any] = {}

        def training_step(self, batch: Any) -> Tensor:
            self.seen.setdefault("train", batch)
            return self.weight

        def validation_step(self, batch: Any) -> None:
            self.seen.setdefault("val", batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    seen = []
    for augment in ([], [RandomShift(4)]):
        torch.manual_seed(0)
        model = Record()
        trainer = Trainer(accelerator="cpu", max_epochs=1, enable_checkpointing=False, num_sanity_val_steps=0, **QUIET)
        trainer.fit(model, datamodule=mixed(augment=augment))
        seen.append(model.seen)
    assert torch.equal(seen[0]["val"][1], seen[1]["val"][1])
    assert not torch.equal(seen[0]["train"][1], seen[1]["train"][1])
    assert (seen[1]["train"][1] == IGNORE_INDEX).sum() > (seen[0]["train"][1] == IGNORE_INDEX).sum()
