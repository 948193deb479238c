"""What a report shows of the data, for each modality."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litnets.data import (
    ArrayData,
    AudioFolder,
    Diabetes,
    Digits,
    ImageArrays,
    ImageFolder,
    SeriesCSV,
    SeriesFolder,
    Shapes,
    TableCSV,
    TextFiles,
)
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.data_card import describe_numbers, sample_evenly
from litnets.data.images import arrays
from tests.helpers.tiny_images import write_image_arrays, write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import write_audio_folder
from tests.helpers.tiny_text import rows, write_texts


def ready(data: ArrayDataModule) -> ArrayDataModule:
    data.ensure_setup()
    return data


def described(data: ArrayDataModule) -> dict[str, Any]:
    """The content of data.json, as it is read from the file."""
    content: dict[str, Any] = json.loads(json.dumps(ready(data).describe_data(), allow_nan=False))
    return content


def image_of(content: bytes) -> np.ndarray[Any, Any]:
    return np.array(Image.open(io.BytesIO(content)))


def slices(data: ArrayDataModule) -> dict[str, Any]:
    """The values of all test samples."""
    return dict(data.slice_values("test", torch.arange(data.num_samples("test"))))


def test_numbers_are_described_without_the_missing_ones() -> None:
    assert describe_numbers([4.0, float("nan"), 2.0, 3.0]) == {
        "mean": 3.0,
        "std": float(f"{(2 / 3) ** 0.5:.7g}"),
        "min": 2.0,
        "q25": 2.5,
        "median": 3.0,
        "q75": 3.5,
        "max": 4.0,
    }
    assert describe_numbers([float("nan")]) == {}


def test_evenly_spaced_positions_include_both_ends() -> None:
    assert sample_evenly(3, 5).tolist() == [0, 1, 2]
    assert sample_evenly(100, 3).tolist() == [0, 49, 99]


def test_examples_take_the_classes_in_turn() -> None:
    targets = np.array([0] * 96 + [1] * 3 + [2])
    data = ready(ArrayData(np.zeros((100, 2)), targets, val=(np.zeros((1, 2)), [0]), test=(np.zeros((1, 2)), [0])))
    examples = data.choose_examples("train", 7)
    assert targets[data.splits["train"].indices[examples]].tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert len(set(examples)) == 7
    assert examples == data.choose_examples("train", 7)


def test_images() -> None:
    data = Digits()
    content = described(data)
    assert content["source"] == {"datamodule": "Digits"}
    assert content["kind"] == "image"
    assert content["splits"]["train"]["samples"] == sum(content["splits"]["train"]["class_counts"]) == 1079
    first, _ = data.splits["test"][0]
    assert isinstance(first, Tensor)
    pixels = image_of(data.raw_input("test", 0)["image"])
    assert pixels.shape == (8, 8)
    np.testing.assert_allclose(pixels / 255, first[0].numpy() / 16, atol=0.5 / 255)
    brightness = slices(data)["brightness"]
    assert brightness[0] == round(float(first.double().mean()) / 16, 4)


def test_large_images_are_scaled_down_and_floats_are_scaled_up() -> None:
    pixels = np.zeros((30, 200, 100), np.float32)
    pixels[:, 100:] = 0.5
    data = ready(ArrayData(pixels, np.arange(30) % 3, kind="images"))
    image = image_of(data.raw_input("train", 0)["image"])
    assert image.shape == (96, 48)
    assert (image[:48] == 0).all()
    assert (image[48:] == 255).all()


def test_image_files_are_described_the_same_in_memory_and_on_disk() -> None:
    write_image_folder(Path("pets"))
    in_memory, on_disk = (ready(ImageFolder("pets", size=12, memory_budget=budget)) for budget in (1, 0))
    assert slices(on_disk) == slices(in_memory)
    assert on_disk.raw_input("test", 0) == in_memory.raw_input("test", 0)
    for data in (in_memory, on_disk):
        sizes = data.describe_inputs("train")
        assert sizes["file_width"]["min"] == sizes["file_width"]["max"] == 24
        assert 20 <= sizes["file_height"]["min"] < sizes["file_height"]["max"] <= 39


def test_large_arrays_on_disk_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_arrays(Path("arrays"))
    data = ready(ImageArrays("arrays"))
    assert len(slices(data)["brightness"]) == len(data.splits["test"])
    monkeypatch.setattr(arrays, "_MAX_READ_AGAIN", 1000)
    assert slices(data) == {}


def test_masks() -> None:
    data = Shapes(samples=40, size=32)
    content = described(data)
    assert content["splits"]["test"]["samples"] == 8
    assert sum(content["splits"]["test"]["class_counts"]) == 8 * 32 * 32
    images, masks = data.splits["test"][torch.arange(8)]
    raw = data.raw_input("test", 3)
    assert (image_of(raw["image"]) == images[3].permute(1, 2, 0).numpy()).all()
    assert (image_of(raw["mask"]) == masks[3].numpy()).all()
    assert len(slices(data)["brightness"]) == 8


def test_texts() -> None:
    data = TextFiles(str(write_texts(Path("t.csv"), rows())), lowercase=True)
    content = described(data)
    assert content["source"] == {"datamodule": "TextFiles", "path": "t.csv"}
    assert (
        content["splits"]["train"]["inputs"]["characters"]["max"]
        >= content["splits"]["train"]["inputs"]["tokens"]["max"]
    )
    text = data.raw_input("test", 1)["text"].decode()
    assert text in [row[0] for row in rows()]
    assert slices(data)["length"][1] == len(text)


def test_sounds() -> None:
    write_audio_folder(Path("sounds"))
    data = AudioFolder("sounds", sample_rate=8000)
    seconds = described(data)["splits"]["test"]["inputs"]["seconds"]
    with wave.open(io.BytesIO(data.raw_input("test", 0)["audio"])) as file:
        assert file.getframerate() == 8000
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    (values, length), _ = data.splits["test"][0]
    assert (samples == values.numpy()).all()
    assert slices(data)["length"][0] == int(length) / 8000 >= seconds["min"]


def test_series_with_classes() -> None:
    write_series_folder(Path("waves"), each=30)
    data = ready(SeriesFolder("waves"))
    (values, length), _ = data.splits["test"][0]
    assert (np.load(io.BytesIO(data.raw_input("test", 0)["series"])) == values.numpy()).all()
    assert slices(data) == {"length": data.splits["test"].split_lengths.tolist()}  # type: ignore[union-attr]
    assert int(length) == slices(data)["length"][0]


def test_forecasts() -> None:
    write_series(Path("s.csv"), waves(200, 3), "abc")
    data = SeriesCSV("s.csv", look_back=12, horizon=4)
    test = described(data)["splits"]["test"]
    assert test["inputs"]["steps"] == 40
    assert (test["inputs"]["first"], test["inputs"]["last"]) == (data.times[160], data.times[199])
    assert test["inputs"]["channels"]["b"]["mean"] == describe_numbers(waves(200, 3)[160:, 1].astype("f4"))["mean"]
    window = np.load(io.BytesIO(data.raw_input("test", 2)["series"]))
    np.testing.assert_array_equal(window, waves(200, 3)[150:166].astype("f4"))


def write_table() -> TableCSV:
    lines = ["size,town,day,kind,price"]
    for i in range(40):
        town = ["Oslo", "Rome", ""][i % 3]
        lines.append(f"{i / 8},{town},2024-02-{1 + i % 28:02},{i % 2},{i * 1.5}")
    Path("t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return TableCSV("t.csv", target="price")


def test_tables() -> None:
    data = write_table()
    content = described(data)
    columns = {column["name"]: column for column in content["columns"]}
    assert list(columns) == ["size", "town", "day", "kind", "price"]
    assert columns["town"]["missing"] == 13
    assert sum(columns["town"]["categories"].values()) == 24 - content["splits"]["train"]["inputs"]["missing"]["town"]
    assert columns["day"]["first"] >= "2024-02-01"
    assert columns["size"]["values"]["min"] >= 0
    assert content["splits"]["test"]["targets"]["price"]["max"] <= 58.5
    index = int(data.splits["test"].indices[0])
    assert json.loads(data.raw_input("test", 0)["row"]) == {
        "size": index / 8,
        "kind": index % 2,
        "day": f"2024-02-{1 + index % 28:02}",
        "town": ["Oslo", "Rome", None][index % 3],
    }
    assert slices(data).keys() == {"town", "kind"}
    assert slices(data)["kind"] == [int(i) % 2 for i in data.splits["test"].indices]


def test_ready_made_tables() -> None:
    content = described(Diabetes())
    assert len(content["columns"]) == 10
    assert content["target_names"] == ["target"]
    assert slices(ready(Diabetes())).keys() == {"sex"}
