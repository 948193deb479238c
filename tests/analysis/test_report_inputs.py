"""The inputs that a report shows: which mistakes, and how many examples."""

from typing import Any

import polars as pl
import pytest
import torch

from litnets.analysis.report_inputs import collect_inputs, worst_samples
from litnets.data import Digits, Shapes
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import MAX_CONTENT_BYTES, MAX_INPUTS


def record(**columns: Any) -> RecordedPredictions:
    size = len(next(iter(columns.values())))
    return RecordedPredictions(pl.DataFrame({"index": range(size)} | columns), {})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {
                "target": list("aabb"),
                "prediction": list("abab"),
                "probability": [0.9, 0.8, 0.6, 0.9],
                "loss": [0.1, 2.0, 1.0, 0.1],
            },
            [1, 2],
        ),
        ({"target": list("aab"), "prediction": list("bba"), "probability": [0.7, 0.9, 0.8]}, [1, 2, 0]),
        ({"target": [1.0, 2.0, 3.0], "prediction": [1.0, 4.0, 4.0], "loss": [0.0, 4.0, 1.0]}, [1, 2, 0]),
        ({"target": [1.0, 2.0], "prediction": [1.0, 4.0]}, []),
        ({"mean_iou": [0.5, float("nan"), 0.2]}, [2, 0]),
        ({"loss": [1.0, 2.0, 1.0]}, [1, 0, 2]),
    ],
)
def test_the_worst_samples_come_first(columns: dict[str, Any], expected: list[int]) -> None:
    assert worst_samples(record(**columns)) == expected


def test_the_worst_windows_do_not_overlap() -> None:
    losses = [1.0, 9.0, 8.0, 7.0, 2.0]  # of windows that start one step apart
    steps = {"index": [i for i in range(5) for _ in range(3)], "step": [1, 2, 3] * 5}
    assert worst_samples(record(**steps, loss=[loss for loss in losses for _ in range(3)])) == [1, 4]


def test_mistakes_and_examples_of_each_class_are_stored() -> None:
    data = Digits()
    data.ensure_setup()
    size = len(data.splits["test"])
    columns = {"target": ["a"] * size, "prediction": ["b"] * size, "probability": [0.9] * size, "loss": range(size)}
    stored = collect_inputs(data, record(**columns))
    assert len(stored) <= MAX_INPUTS
    assert [(one.role, one.split, one.index) for one in stored[:2]] == [
        ("mistake", "test", size - 1),
        ("mistake", "test", size - 2),
    ]
    assert stored[0].content == data.raw_input("test", size - 1)["image"]
    for part in ("train", "test"):
        split = data.splits[part]
        examples = [one.index for one in stored if (one.split, one.role) == (part, "example")]
        assert len(split.targets[split.indices[examples]].unique()) == 10
    assert collect_inputs(data, None) == [one for one in stored if one.role == "example"]


def test_mistakes_of_a_segmentation_come_with_both_masks() -> None:
    data = Shapes(samples=40, size=32)
    data.ensure_setup()
    predicted = torch.full((32, 32), 3)
    stored = collect_inputs(data, record(mean_iou=[0.5, 0.1] + [0.9] * 6), lambda tiles: predicted)
    assert [(one.index, one.kind) for one in stored[:4]] == [
        (1, "image"),
        (1, "mask"),
        (1, "predicted_mask"),
        (0, "image"),
    ]
    assert {one.kind for one in stored if one.role == "example"} == {"image", "mask"}


def test_large_images_stay_within_the_limit() -> None:
    data = Shapes(samples=200, size=96)
    data.ensure_setup()
    stored = collect_inputs(data, record(mean_iou=[0.5] * 40), lambda tiles: torch.zeros(96, 96))
    assert 0.5 * MAX_CONTENT_BYTES < sum(len(one.content) for one in stored) <= MAX_CONTENT_BYTES
    assert {(one.split, one.role) for one in stored} == {("test", "mistake"), ("train", "example"), ("test", "example")}
