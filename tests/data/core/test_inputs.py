"""New inputs in the forms in which people hold them, and one line for those that do not fit."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from litnets.data import Digits, ImageFolder, SeriesCSV, TableCSV, TextFiles
from litnets.data.audio.base import AudioDataModule
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.inputs import as_items, is_table, table_columns
from litnets.errors import InputError
from litnets.tasks import MLPClassifier
from tests.helpers.tiny_series import waves, write_series
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts


class Recordings(AudioDataModule):
    num_classes = 2

    def load(self) -> Any:
        raise AssertionError("the training data are not needed")


def read(module: ArrayDataModule, inputs: Any) -> Any:
    """Return all inputs that are read, as one batch."""
    split = module.read_inputs(inputs)
    return split[torch.arange(len(split))][0]


def refused(module: ArrayDataModule, inputs: Any) -> str:
    with pytest.raises(InputError) as error:
        module.read_inputs(inputs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_image_may_be_an_array_in_either_layout_a_pil_image_or_a_file(tmp_path: Path) -> None:
    module = ImageFolder("none", size=[4, 6])
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    channels_first = pixels.transpose(2, 0, 1)
    path = tmp_path / "a.png"
    forms = (pixels, channels_first, channels_first[None], expected, Image.fromarray(pixels), path, str(path), tmp_path)
    for form in forms:
        assert torch.equal(read(module, form), expected)
    assert torch.equal(read(module, [*forms]), expected.expand(len(forms), -1, -1, -1))
    assert torch.equal(read(module, [path, path]), expected.expand(2, -1, -1, -1))


def test_a_gray_image_needs_no_channel_axis() -> None:
    digits = np.arange(128, dtype=np.int64).reshape(2, 8, 8) % 17
    assert read(Digits(), digits).shape == (2, 1, 8, 8)
    assert read(Digits(), digits[0]).shape == (1, 1, 8, 8)
    assert read(Digits(), digits[0].tolist()).dtype == torch.uint8


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "expected at least one input, got none"),
        (np.zeros((0, 8, 8), np.uint8), "expected at least one input, got none"),
        (np.zeros((8, 8)), r"expected whole numbers from 0 to 16 \(uint8 pixels\), got an array of float64"),
        (np.full((8, 8), 17, np.uint8), "expected pixels from 0 to 16, got 17"),
        (np.full((8, 8), -1), "expected pixels from 0 to 16, got -1"),
        (np.zeros((9, 8), np.uint8), r"expected images of shape \(1, 8, 8\) .* got an array of shape \(9, 8\)"),
        (3, "expected an image file, a PIL image, or an array of pixels, got an int"),
        ({"a": 1}, "expected an image file, a PIL image, or an array of pixels, got a dict"),
        ("none.png", "none.png cannot be read: No such file"),
        (None, "got a NoneType"),
        ([[1, 2], [3]], "expected an image file, .*, or an array of pixels, got lists of different lengths"),
    ],
)
def test_wrong_images_are_refused_in_one_line(inputs: Any, message: str) -> None:
    assert re.search(message, refused(Digits(), inputs))


def test_a_string_is_a_text_and_a_path_is_a_file(tmp_path: Path) -> None:
    module = TextFiles(str(write_texts(tmp_path / "t.csv", rows())))
    module.ensure_setup()
    Path("a.txt").write_text("w1 good")
    tokens, lengths = read(module, ["w1 good", Path("a.txt"), "a.txt"])
    assert torch.equal(tokens[0], tokens[1])
    assert lengths.tolist() == [2, 2, 3]
    for form in (np.array(["w1 good"]), pl.DataFrame({"text": ["w1 good"]}), pl.Series(["w1 good"]), "w1 good"):
        assert torch.equal(read(module, form)[0], tokens[:1, :2])
    assert refused(module, pl.DataFrame({"body": ["w1"]})).startswith("the table: no column 'text' (columns: body)")
    assert refused(module, ["w1", 3]) == "text 1: expected a string, or a file as pathlib.Path, got an int"
    assert refused(module, ["w1", " "]).startswith("text 1: the text is empty")


def test_recordings_may_be_int16_or_floats() -> None:
    module = Recordings(sample_rate=8000)
    samples = np.array([-32768, -1, 0, 16384], np.int16)
    for form in (samples, samples / 32768, [samples, samples / 32768], np.stack([samples, samples])):
        waveforms, lengths = read(module, form)
        assert all(torch.equal(waveform, torch.from_numpy(samples)) for waveform in waveforms)
        assert lengths.tolist() == [4] * len(waveforms)
    assert refused(module, samples.astype(float)).startswith("expected samples in [-1, 1] in an array of floats")
    assert refused(module, samples.astype(np.int32)) == "expected int16 samples or floats in [-1, 1], got int32"
    assert "got an array of shape (1, 1, 4)" in refused(module, samples[None, None])


def test_rows_may_be_a_table_dicts_or_numbers(tmp_path: Path) -> None:
    module = TableCSV(str(write_csv(tmp_path / "t.csv")), "bought", ignore=["red", "round", "price"])
    module.ensure_setup()
    row = {"town": "Oslo", "age": 30, "income": None}
    expected = read(module, row)
    assert expected[0, :1].tolist() == [30.0]
    assert expected[0, 1].isnan()
    for form in ([row], pl.DataFrame([row]), {**row, "income": float("nan"), "note": "x"}):
        assert torch.equal(read(module, form).nan_to_num(-1), expected.nan_to_num(-1))
    assert "the table: no column 'income' (columns: age, town)" in refused(module, {"age": 1, "town": "Rome"})
    assert "column 'age', row 2: expected a number as in training, got 'old'" in refused(
        module, [row, {**row, "age": "old"}]
    )
    assert "column 'town' is categorical, which an array of numbers cannot hold" in refused(module, np.zeros((1, 3)))
    assert (
        refused(module, pl.DataFrame({"age": [], "town": [], "income": []}))
        == "the table: expected at least one row, got none"
    )


def test_a_forecast_is_made_from_the_last_steps(tmp_path: Path) -> None:
    values = waves(60, 2)
    write_series(tmp_path / "s.csv", values, "ab")
    module = SeriesCSV(str(tmp_path / "s.csv"), look_back=12, horizon=4)
    module.ensure_setup()
    expected = torch.from_numpy(values[-12:]).float().unsqueeze(0)
    table = pl.DataFrame({"b": values[:, 1], "a": values[:, 0]})
    for form in (values, values[None], table, str(tmp_path / "s.csv"), [values], values.tolist()):
        assert torch.equal(read(module, form)[:1], expected)
    assert "a forecast needs 12 steps, got a series of 5" in refused(module, values[:5])
    assert "expected series of shape (steps, 2) with the channels a, b" in refused(module, values[:, :1])
    assert "the table: no column 'b'" in refused(module, table.drop("b"))
    assert "expected finite numbers in a series" in refused(module, np.full((12, 2), np.nan))


def test_pandas_tables_are_read_without_importing_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, float("nan")], "b": ["x", None], "c": pandas.array([1, None], dtype="Int64")})
    assert is_table(frame)
    assert table_columns(frame) == {"a": [1.0, None], "b": ["x", None], "c": [1, None]}


def test_plain_lightning_recommends_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.fabric.utilities.data._num_cpus_available", lambda: 16)
    model = MLPClassifier([1, 8, 8], num_classes=10)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_steps=1, limit_val_batches=1, enable_checkpointing=False, **quiet)
    trainer.fit(model, Digits())  # warnings are errors
    trainer.predict(model, Digits())


def test_a_module_without_read_inputs_says_so() -> None:
    class Mine(ArrayDataModule):
        def load(self) -> Any:
            return {}

    assert refused(Mine(), [1]) == "Mine cannot read new inputs, because it does not define read_inputs"
    assert as_items(("a", "b")) == ["a", "b"]
