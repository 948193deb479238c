from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import functional

from litnets.data import (
    AlternatingFlip,
    Augmentation,
    ColorJitter,
    Cutout,
    Noise,
    RandomAffine,
    RandomFlip,
    RandomShift,
)
from litnets.errors import InputError

Array = NDArray[np.uint8]

AUGMENTATIONS = {
    "shift by zeros": RandomShift(2),
    "shift by reflection": RandomShift(2, "reflect"),
    "no shift": RandomShift(0),
    "flip": RandomFlip(),
    "color jitter": ColorJitter(),
    "affine": RandomAffine(20, 0.2, 0.2),
    "cutout": Cutout(3),
    "cutout, even": Cutout(4),
}
every_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)


def images(n: int = 64, channels: int = 2, height: int = 6, width: int = 7, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Return images without zeros whose values within an image are all different (up to 255 values)."""
    one = 1 + torch.arange(channels * height * width) % 255
    return one.view(1, channels, height, width).repeat(n, 1, 1, 1).to(dtype)


# Reference implementations in NumPy: every possible outcome for an image, by the random choice.


def shifts(image: Array, pixels: int, mode: str) -> dict[tuple[int, int], Array]:
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (pixels, pixels), (pixels, pixels)), mode)  # type: ignore[call-overload]
    places = product(range(2 * pixels + 1), repeat=2)
    return {(i, j): padded[:, i : i + height, j : j + width] for i, j in places}


def flips(image: Array) -> dict[bool, Array]:
    return {False: image, True: image[:, :, ::-1]}


def cutouts(image: Array, size: int) -> dict[tuple[int, int], Array]:
    _, height, width = image.shape
    found = {}
    for row, column in product(range(height), range(width)):
        out = image.copy()
        top, left = row - size // 2, column - size // 2
        out[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        found[row, column] = out
    return found


CASES: dict[str, tuple[Augmentation, Callable[[Array], dict[object, Array]]]] = {
    "shift by zeros": (RandomShift(1), lambda x: dict(shifts(x, 1, "constant"))),
    "shift by reflection": (RandomShift(2, "reflect"), lambda x: dict(shifts(x, 2, "reflect"))),
    "no shift": (RandomShift(0), lambda x: {0: x}),
    "flip": (RandomFlip(), lambda x: dict(flips(x))),
    "cutout of 1": (Cutout(1), lambda x: dict(cutouts(x, 1))),
    "cutout of 3": (Cutout(3), lambda x: dict(cutouts(x, 3))),
    "cutout of 4": (Cutout(4), lambda x: dict(cutouts(x, 4))),
    "cutout of 0": (Cutout(0), lambda x: {0: x}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_all_possible_outcomes_occur_equally_often_and_no_others(
    case: tuple[Augmentation, Callable[[Array], dict[object, Array]]],
) -> None:
    augmentation, slow = case
    batch = images(2000)
    outcomes = {array.tobytes(): choice for choice, array in slow(batch[0].numpy()).items()}
    found = [outcomes[sample.tobytes()] for sample in augmentation(batch).numpy()]  # KeyError: an impossible outcome
    counts = np.array([found.count(choice) for choice in outcomes.values()])
    # Sampled uniformly: 2,000 samples of up to 42 outcomes, each within 5 standard deviations of its expected count.
    expected = len(found) / len(counts)
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected)


@every_augmentation
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.int32])
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (3, 3, 5, 9), (1, 1, 4, 4), (0, 1, 8, 8)])
def test_shape_and_dtype_do_not_change(augmentation: Augmentation, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    out = augmentation(images(*shape, dtype=dtype))
    assert out.shape == shape
    assert out.dtype == dtype


@every_augmentation
def test_the_input_batch_is_not_modified(augmentation: Augmentation) -> None:
    batch = images()
    augmentation(batch)
    assert torch.equal(batch, images())


@every_augmentation
def test_a_seed_makes_it_reproducible(augmentation: Augmentation) -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augmentation(images())

    assert torch.equal(draw(1), draw(1))
    changes = not torch.equal(draw(1), images())
    assert changes == (not torch.equal(draw(1), draw(2)))


@pytest.mark.parametrize("augmentation", [RandomShift(2), RandomFlip(), Cutout(3), RandomAffine()])
def test_samples_are_changed_differently(augmentation: Augmentation) -> None:
    assert len({sample.tobytes() for sample in augmentation(images()).numpy()}) > 1


def test_rows_and_columns_are_shifted_independently() -> None:
    outcomes = shifts(images(1)[0].numpy(), 2, "constant")
    place = {array.tobytes(): choice for choice, array in outcomes.items()}
    found = [place[sample.tobytes()] for sample in RandomShift(2)(images()).numpy()]
    assert any(down != right for down, right in found)


def test_all_channels_of_a_sample_are_changed_equally() -> None:
    one = torch.randint(1, 255, (50, 1, 6, 7), dtype=torch.uint8)
    for augmentation in AUGMENTATIONS.values():
        first, second = augmentation(one.repeat(1, 2, 1, 1)).unbind(1)
        assert torch.equal(first, second)


def test_a_custom_augmentation_must_implement_call() -> None:
    with pytest.raises(NotImplementedError):
        Augmentation()(images())


def test_color_jitter_matches_torchvision_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (16, 3, 7, 5), dtype=torch.uint8)
    drawn = iter(draws := torch.rand(3, 16, 1, 1, 1))
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: next(drawn))
    out = ColorJitter(0.4, 0.6, 0.8)(images)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    for image, actual, bright, contrast, saturation in zip(images, out, *draws.flatten(1).tolist(), strict=True):
        expected = functional.adjust_brightness(image, 0.6 + 0.8 * bright)
        expected = functional.adjust_contrast(expected, 0.4 + 1.2 * contrast)
        expected = functional.adjust_saturation(expected, 0.2 + 1.6 * saturation)
        assert (
            actual.int() - expected.int()
        ).abs().max() <= 4  # torchvision rounds to an integer after each of the three steps


def test_color_jitter_of_grayscale_images_and_without_effect() -> None:
    images = torch.randint(0, 256, (8, 1, 6, 6), dtype=torch.uint8)
    assert torch.equal(ColorJitter(0, 0, 0.9)(images), images)
    out = ColorJitter(0.5, 0, 0)(images).float()
    factor = out.sum((1, 2, 3)) / images.float().sum((1, 2, 3))
    assert factor.unique().numel() > 1
    assert torch.equal(ColorJitter(0, 0, 0)(images), images)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_factor_outside_0_to_1_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"ColorJitter: {name}: expected a number in \[0, 1\]"):
        ColorJitter(**{name: value})


def different(n: int = 400, channels: int = 2, step: int = 1) -> Tensor:
    """Return different images whose values are multiples of `step`."""
    return step * torch.randint(0, 255 // step + 1, (n, channels, 6, 7), dtype=torch.uint8)


@pytest.mark.parametrize("step", [1, 2, 4, 16])
def test_alternating_flip_shows_both_orientations_in_two_epochs(step: int) -> None:
    flip, batch = AlternatingFlip(), different(step=step)
    seen = []
    for epoch in range(4):
        flip.epoch = epoch
        out = flip(batch)
        flipped = (out != batch).flatten(1).any(1)
        assert torch.equal(out[flipped], batch[flipped].flip(3))
        seen.append(flipped)
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[2], seen[0])
    assert torch.equal(seen[3], seen[1])
    assert 130 < seen[0].sum() < 270, "about half of 400, within 7 standard deviations"


def test_alternating_flip_does_not_depend_on_the_batch() -> None:
    flip, batch = AlternatingFlip(), different()
    order = torch.randperm(len(batch))
    assert torch.equal(flip(batch[order]), flip(batch)[order])
    torch.manual_seed(1)
    assert torch.equal(torch.cat([flip(one) for one in batch.split(1)]), flip(batch))


def test_noise_has_its_std_and_is_independent() -> None:
    batch = torch.full((50, 3, 16, 16), 128, dtype=torch.uint8)
    change = Noise(9.0)(batch).double() - 128
    assert change.std() == pytest.approx((81 + 1 / 12) ** 0.5, rel=0.02)  # plus the variance of rounding
    assert abs(change.mean()) < 0.2
    for one, other in ((change[0], change[1]), (change[:, 0], change[:, 1])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.2


def test_noise_is_clipped_to_0_to_255() -> None:
    batch = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).repeat(1, 1, 30, 30)
    dark, bright = Noise(20.0)(batch).int()
    assert dark.max() < 128 < bright.min()
    assert (dark == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (bright == 255).float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(Noise(0.0)(batch), batch)


@pytest.mark.parametrize("augmentation", [AlternatingFlip(), Noise()], ids=["alternating flip", "noise"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.int32])
def test_flip_and_noise_keep_shape_dtype_and_the_input_batch(augmentation: Augmentation, dtype: torch.dtype) -> None:
    for n in (0, 1, 64):
        batch = images(n, dtype=dtype)
        out = augmentation(batch)
        assert (out.shape, out.dtype) == (batch.shape, dtype)
        assert torch.equal(batch, images(n, dtype=dtype))


def test_affine_rotation_matches_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(16, 2, 9, 14)
    draws = torch.rand(4, 16)
    drawn = iter(draws)
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: next(drawn))
    out = RandomAffine(40, 0, 0)(images)
    for image, actual, draw in zip(images, out, draws[0].tolist(), strict=True):
        angle = 40 * (2 * draw - 1)
        expected = functional.affine(image, -angle, [0, 0], 1.0, [0.0], functional.InterpolationMode.BILINEAR)
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def center_of_a_dot(augmentation: Augmentation, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Return the positions of a dot at this offset from the center after many random augmentations."""
    images = torch.zeros(300, 1, 31, 61)
    images[:, :, 14 + row : 17 + row, 29 + column : 32 + column] = 1
    out = augmentation(images)[:, 0]
    mass = out.sum((1, 2))
    rows, columns = torch.arange(31.0) - 15, torch.arange(61.0) - 30
    return (out.sum(2) * rows).sum(1) / mass, (out.sum(1) * columns).sum(1) / mass


def test_affine_scales_height_and_width_independently() -> None:
    rows, columns = center_of_a_dot(RandomAffine(0, 0.2, 0), 10, -20)
    for values, place in ((rows, 10), (columns, -20)):
        factor = place / values
        assert 0.75 < factor.min() < 0.85 < 1.15 < factor.max() < 1.25
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1].abs() < 0.3


def test_affine_shears_rows() -> None:
    rows, columns = center_of_a_dot(RandomAffine(0, 0, 0.5), 10, 0)
    assert (rows - 10).abs().max() < 0.2
    assert -5.3 < columns.min() < -4.5 < 4.5 < columns.max() < 5.3
    rows, columns = center_of_a_dot(RandomAffine(0, 0, 0.5), 0, 20)
    assert rows.abs().max() < 0.2
    assert (columns - 20).abs().max() < 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomShift(-1), "RandomShift: pixels: expected at least 0, got -1"),
        (
            lambda: RandomShift(6, "reflect")(images()),
            "RandomShift: pixels: expected at most 5 to reflect images of 6x7, got 6",
        ),
        (lambda: RandomAffine(scale=1.0), r"RandomAffine: scale: expected a number in \[0, 1\), got 1.0"),
        (lambda: RandomAffine(scale=-0.1), "RandomAffine: scale: expected a number"),
    ],
)
def test_invalid_arguments_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_shift_can_be_one_less_than_the_image() -> None:
    assert RandomShift(5, "reflect")(images()).shape == images().shape
    assert torch.equal(RandomShift(0)(images()), images())
