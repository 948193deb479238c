"""ArrayData: shapes, dtypes and targets from memory, scaling, predefined splits, subclasses, and errors."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import litnets
from litnets import ArrayData
from litnets.errors import InputError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(3, 2, (60, 4))
LABELS = np.arange(60) % 3


def ready(*arguments: Any, **options: Any) -> ArrayData:
    data = ArrayData(*arguments, **options)
    data.setup()
    return data


def batch(data: ArrayData, split: str = "train") -> tuple[Tensor, Tensor]:
    return data.on_after_batch_transfer(data.splits[split][:], 0)  # type: ignore[arg-type, index]


@pytest.mark.parametrize(
    ("inputs", "options", "shape", "dtype"),
    [
        (TABLE, {}, (4,), torch.float32),
        (TABLE.astype(np.float32), {}, (4,), torch.float32),
        (TABLE.tolist(), {}, (4,), torch.float32),
        (torch.tensor(TABLE, requires_grad=True), {}, (4,), torch.float32),
        (pl.DataFrame(TABLE), {}, (4,), torch.float32),
        (TABLE.astype(int), {}, (4,), torch.float32),
        (np.zeros((60, 5, 6), np.uint8), {}, (1, 5, 6), torch.uint8),
        (np.zeros((60, 5, 6)), {"kind": "images"}, (1, 5, 6), torch.float32),
        (np.zeros((60, 5, 6)), {"kind": "series"}, (5, 6), torch.float32),
        (np.zeros((60, 3, 5, 6), np.uint8), {}, (3, 5, 6), torch.uint8),
        (np.zeros((60, 5, 6, 3), np.uint8), {}, (3, 5, 6), torch.uint8),
        (np.zeros((60, 5, 6, 1)), {}, (1, 5, 6), torch.float32),
    ],
)
def test_inputs_of_any_kind(inputs: Any, options: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    data = ready(inputs, LABELS, **options)
    assert data.input_shape == shape
    assert data.inputs.dtype == dtype
    values, targets = batch(data)
    assert values.shape == (36, *shape)
    assert values.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [36, 12, 12]


def test_channels_last_are_moved_first() -> None:
    images = RNG.integers(0, 256, (60, 5, 6, 3), dtype=np.uint8)
    assert torch.equal(ready(images, LABELS).inputs, torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("targets", "options", "names"),
    [
        (LABELS, {}, ["0", "1", "2"]),
        (LABELS[:, None], {}, ["0", "1", "2"]),
        (LABELS + 9, {}, ["9", "10", "11"]),
        (torch.from_numpy(LABELS), {}, ["0", "1", "2"]),
        (LABELS == 1, {}, ["False", "True"]),
        (np.array(["b", "a", "c"])[LABELS], {}, ["a", "b", "c"]),
        (np.array(["b", "a", "c"], object)[LABELS], {}, ["a", "b", "c"]),
        (np.array(["b", "a", "c"])[LABELS].tolist(), {"class_names": ["c", "b", "a"]}, ["c", "b", "a"]),
        (LABELS, {"class_names": ["x", "y", "z"]}, ["x", "y", "z"]),
        (LABELS.astype(float), {"task": "classification"}, ["0", "1", "2"]),
        (np.eye(3)[LABELS].astype(int), {}, ["0", "1", "2"]),  # one-hot encoded
    ],
)
def test_classes(targets: Any, options: dict[str, Any], names: list[str]) -> None:
    data = ready(TABLE, targets, **options)
    assert data.class_names == names
    assert data.num_classes == len(names)
    assert not data.multilabel
    assert data.target_mean is data.target_std is data.num_targets is None
    given = np.asarray(targets)
    given = given.argmax(1) if given.ndim == 2 and given.shape[1] > 1 else given.flatten()
    expected = [options["class_names"][i] if given.dtype.kind == "i" and "class_names" in options else i for i in given]
    assert [names[i] for i in data.labels.values.tolist()] == [
        str(int(label)) if isinstance(label, float) else str(label) for label in expected
    ]


def test_multi_label_targets() -> None:
    targets = np.stack([LABELS == 1, LABELS > 0], 1)
    data = ready(TABLE, targets, class_names=["one", "positive"])
    assert data.multilabel
    assert data.class_names == ["one", "positive"]
    assert torch.equal(data.labels.values, torch.from_numpy(targets).to(torch.uint8))


@pytest.mark.parametrize(
    ("targets", "options", "names"),
    [
        (TABLE[:, 0], {}, ["target"]),
        (TABLE[:, :1], {}, ["target"]),
        (TABLE[:, :2].astype(np.float32), {}, ["target_1", "target_2"]),
        (torch.from_numpy(TABLE[:, 0]), {"target_names": ["price"]}, ["price"]),
        (LABELS, {"task": "regression"}, ["target"]),
    ],
)
def test_numbers_to_predict_come_with_their_mean_and_deviation(
    targets: Any, options: dict[str, Any], names: list[str]
) -> None:
    data = ready(TABLE, targets, **options)
    assert data.target_names == names
    assert data.num_targets == len(names)
    assert data.class_names is data.num_classes is data.class_counts is None
    values = np.asarray(targets, float).reshape(60, -1)[data.splits["train"].indices]
    np.testing.assert_allclose(data.target_mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.target_std, values.std(0), rtol=1e-6)
    _, batch_targets = batch(data)
    assert batch_targets.dtype == torch.float32
    np.testing.assert_allclose(batch_targets, values, rtol=1e-6)


@pytest.mark.parametrize("kind", ["table", "series", "images"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_inputs_are_scaled_by_the_training_split_alone(kind: Any, dtype: Any) -> None:
    shape = {"table": (60, 4), "series": (60, 7, 4), "images": (60, 4, 5, 6)}[kind]
    inputs = RNG.integers(0, 200, shape).astype(dtype)
    inputs[..., 0] = 7  # constant, unless it is a column of an image
    data = ready(inputs, LABELS, kind=kind)
    axes = {"table": (0,), "series": (0, 1), "images": (0, 2, 3)}[kind]
    train = inputs[data.splits["train"].indices].astype(float)
    mean, std = train.mean(axes, keepdims=True), train.std(axes, keepdims=True)
    for split in ("train", "test"):
        raw = inputs[data.splits[split].indices]
        np.testing.assert_allclose(batch(data, split)[0], (raw - mean) / np.where(std, std, 1), atol=1e-5)


def test_predefined_splits_are_used_as_they_are() -> None:
    data = ready(TABLE[:40], LABELS[:40], val=(TABLE[40:50], LABELS[40:50]), test=(TABLE[50:], LABELS[50:]))
    ends = {name: sorted(part.indices.tolist()) for name, part in data.splits.items()}
    assert ends == {"train": [*range(40)], "val": [*range(40, 50)], "test": [*range(50, 60)]}
    with_test = ready(TABLE[:40], LABELS[:40], test=(TABLE[40:], LABELS[40:]), val_size=10)
    assert [len(with_test.splits[name]) for name in ("train", "val", "test")] == [30, 10, 20]
    assert sorted(with_test.splits["test"].indices.tolist()) == [*range(40, 60)]


def test_later_changes_of_the_arrays_change_nothing() -> None:
    inputs = np.zeros((60, 4), np.float32)
    inputs.setflags(write=False)
    data = ready(inputs, LABELS)
    inputs = inputs.copy()
    other = ready(inputs, LABELS)
    inputs += 1
    assert torch.equal(other.inputs, data.inputs)


def test_the_split_is_recorded() -> None:
    first = ready(TABLE, LABELS)
    order = RNG.permutation(60)
    again = ArrayData(TABLE[order], LABELS[order], split_seed=3)
    again.recorded_split = first.split_record
    again.setup()
    assert torch.equal(again.splits["test"][:][0], first.splits["test"][:][0])  # type: ignore[index, arg-type]


def test_a_checkpoint_restores_the_scaling() -> None:
    trained = ready(TABLE, LABELS)
    other = ready(TABLE * 5 + 1, LABELS)
    other.load_state_dict(trained.state_dict())
    assert other.state_dict() == trained.state_dict()
    with pytest.raises(InputError, match=r"input_shape \[3\]; the checkpoint was trained on \[4\]"):
        ready(TABLE[:, :3], LABELS).load_state_dict(trained.state_dict())
    with pytest.raises(InputError, match=r"class_names \['a', 'b', 'c'\]; the checkpoint was trained on"):
        ready(TABLE, LABELS, class_names=["a", "b", "c"]).load_state_dict(trained.state_dict())


def test_new_inputs_have_the_shape_of_training() -> None:
    images = RNG.integers(0, 256, (60, 3, 5, 6), dtype=np.uint8)
    data = ready(images, LABELS)
    for new, count in (
        (images[:7], 7),
        (images[0], 1),
        ([images[0], images[1]], 2),
        (images.transpose(0, 2, 3, 1), 60),
    ):
        assert torch.equal(data.read_inputs(new).inputs, data.inputs[:count])
    gray = ready(images[:, 0], LABELS)
    for new, count in ((images[:3, 0], 3), (images[:1, 0], 1), (images[0, 0], 1), (images[0, 0, :, :, None], 1)):
        assert torch.equal(gray.read_inputs(new).inputs, gray.inputs[:count])
    with pytest.raises(InputError, match=r"expected samples of shape \(3, 5, 6\) as in training, got \(3, 5, 5\)"):
        data.read_inputs(images[:, :, :, :5])
    with pytest.raises(InputError, match=r"expected torch.uint8 as in training, got torch.float32"):
        data.read_inputs(images / 255)
    table = ready(TABLE, LABELS)
    assert torch.equal(table.read_inputs(TABLE[3]).inputs, table.inputs[3:4])
    assert torch.equal(table.read_inputs(TABLE[3].tolist()).inputs, table.inputs[3:4])


def test_training_batches_are_augmented() -> None:
    data = ready(TABLE, LABELS, augment=[torch.zeros_like])
    inputs, _ = batch(data)
    assert not (inputs == inputs[0]).all(), "only in training"

    class Training:
        training, fit_loop, current_epoch, global_rank = True, None, 0, 0

    data.trainer = Training()  # type: ignore[assignment]
    inputs, _ = batch(data)
    assert (inputs == inputs[0]).all()


class Ring(ArrayData):
    """Points in the plane; the class is whether they lie inside a circle."""

    def __init__(self, samples: int = 100, **options: Any) -> None:
        points = np.random.default_rng(0).normal(size=(samples, 2))
        super().__init__(points, np.hypot(*points.T) < 1, **options)


def test_a_subclass_makes_the_arrays() -> None:
    data = Ring(samples=50, batch_size=8, val_size=0.1)
    data.setup()
    assert len(data.splits["val"]) == 5
    assert data.class_names == ["False", "True"]
    assert data.batch_size == 8


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TABLE, LABELS[:50]), {}, "inputs and targets: expected equally many, got 60 and 50"),
        (
            (TABLE, LABELS),
            {"val": (TABLE, LABELS[:50])},
            "val inputs and targets: expected equally many",
        ),
        ((TABLE[:, 0], LABELS), {}, r"got \(60,\); for one feature, use inputs.reshape\(-1, 1\)"),
        ((np.zeros((60, 5, 6)), LABELS), {}, "may hold gray images or series; set kind='images' or kind='series'"),
        ((np.zeros((60, 5, 6)), LABELS), {"kind": "table"}, r"expected shape \(samples, features\), got \(60, 5, 6\)"),
        ((np.zeros((60, 2, 2, 2, 2)), LABELS), {}, r"expected shape .* or .*, got \(60, 2, 2, 2, 2\)"),
        ((TABLE[:, :0], LABELS), {}, "empty array"),
        (
            (np.where(TABLE > 6, np.nan, TABLE), LABELS),
            {},
            r"inputs: .* NaN or infinity in \d+ of 60 samples",
        ),
        ((TABLE * 1e39, LABELS), {}, "inputs: expected finite numbers"),
        ((np.full((60, 2), "a"), LABELS), {}, "expected an array of numbers, got"),
        ((TABLE, np.full(60, None)), {}, "targets: expected numbers or texts, got NoneType"),
        ((TABLE, np.where(LABELS > 1, np.nan, 1.5)), {}, "targets: expected finite numbers, .* the first at index 2"),
        ((TABLE, np.zeros((60, 2, 2))), {}, r"targets: expected shape \(samples,\) or \(samples, targets\)"),
        ((TABLE, np.zeros(60, int)), {}, "expected at least two classes, got only 0"),
        ((TABLE, np.arange(60)), {}, "60 classes in 60 samples are too many; for numbers, set task='regression'"),
        ((TABLE, np.stack([LABELS, LABELS], 1)), {}, "expected only 0 and 1 in a matrix of classes; for numbers, pass"),
        ((TABLE, np.array(["a", "b", "c"])[LABELS]), {"task": "regression"}, "got the text 'a'"),
        ((TABLE, TABLE[:, 0]), {"task": "classification"}, "expected whole numbers for classification"),
        (
            (TABLE, LABELS),
            {"class_names": ["a", "b"]},
            "2 names stand for the classes 0 to 1, but",
        ),
        (
            (TABLE, np.array(["a", "b", "c"])[LABELS]),
            {"class_names": ["a", "b"]},
            "the targets contain 'c', which is not",
        ),
        ((TABLE, TABLE[:, :2]), {"target_names": ["a"]}, "expected 2 names, one for each column of the targets, got 1"),
        ((TABLE, LABELS), {"test": (TABLE[:, :3], LABELS)}, r"expected samples of one shape and dtype, got \(4,\) of"),
        ((TABLE, LABELS), {"test": (TABLE, TABLE[:, 0])}, "targets: expected the same kind in each split"),
        (([[1.0, 2.0], [3.0]], [0, 1]), {}, "lists of different lengths"),
    ],
)
def test_invalid_arrays_are_refused_in_one_line(
    arguments: tuple[Any, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        ArrayData(*arguments, **options)
    assert len(str(error.value).splitlines()) == 1


def test_array_data_is_exported_at_the_root() -> None:
    assert litnets.ArrayData is ArrayData
