"""The programs beside an export read files as the DataModules do."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import AudioFolder, ImageFolder, SeriesCSV, SeriesFolder, TableCSV, TextFiles
from litnets.data.core.base import ArrayDataModule
from litnets.data.images.crops import TiledImages
from litnets.deploy.graph import as_tuple
from litnets.deploy.standalone import read_audio, read_image, read_row, read_series, read_text, tiles
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import waves, write_series, write_series_folder
from tests.helpers.tiny_sound import tone, write_audio_folder, write_wav
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts


def read_alone(reader: ModuleType, data: ArrayDataModule, path: Path) -> list[Any]:
    """Return the raw inputs that a reader finds in a file."""
    raw = as_tuple(data.splits["test"][torch.arange(1)][0])[0]
    about = {"reading": data.describe_reading(), "inputs": [{"dtype": str(raw.dtype).removeprefix("torch.")}]}
    samples = [sample for _, sample in reader.read(str(path), about)]
    assert all(sample.dtype == raw.numpy().dtype for sample in samples)
    return samples


def assert_same(samples: list[Any], data: ArrayDataModule, inputs: Any) -> None:
    expected = data.read_inputs(inputs)
    assert len(samples) == len(expected) > 0
    for index, sample in enumerate(samples):
        raw, *lengths = as_tuple(expected[torch.tensor([index])][0])
        assert len(sample) == (int(lengths[0]) if lengths else raw.shape[1])
        np.testing.assert_array_equal(sample, raw[0].numpy())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_images(mode: str) -> None:
    write_image_folder(Path("images"), size=6)
    data = ImageFolder("images", size=12)
    data.ensure_setup()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 4), dtype=np.uint8))
    noise.convert(mode).save("new.png")
    noise.convert("RGB").save("new.jpg", exif=Image.Exif())
    for name in ("new.png", "new.jpg"):
        assert_same(read_alone(read_image, data, Path(name)), data, name)


def test_texts() -> None:
    write_texts(Path("old.csv"), rows(60))
    data = TextFiles("old.csv", max_length=4, lowercase=True)
    data.ensure_setup()
    texts = [*(text for text, _ in rows(3)), "Ein  Ätherwesen, e\u0301tait-il?", "हिन्दी भाषा", "."]
    Path("new.txt").write_text("\n".join(texts), encoding="utf-8")
    assert_same(read_alone(read_text, data, Path("new.txt")), data, texts)


def test_recordings() -> None:
    write_audio_folder(Path("old"), size=5)
    data = AudioFolder("old", sample_rate=8000)
    data.ensure_setup()
    stereo = np.stack([tone(440, 801), tone(660, 801)], 1)
    for name, samples in (("mono.wav", stereo[:, 0]), ("stereo.wav", stereo)):
        write_wav(Path(name), samples)
        assert_same(read_alone(read_audio, data, Path(name)), data, name)
    write_wav(Path("fast.wav"), stereo, rate=16000)
    with pytest.raises(SystemExit, match=r"fast\.wav: expected a 16-bit WAV file with 8000 samples per second"):
        read_alone(read_audio, data, Path("fast.wav"))


def test_rows() -> None:
    write_csv(Path("old.csv"))
    data = TableCSV("old.csv", "price", ignore=["bought"])
    data.ensure_setup()
    assert_same(read_alone(read_row, data, Path("old.csv")), data, "old.csv")


def test_a_missing_column_is_named() -> None:
    Path("new.csv").write_text("size;colour\n1;red\n")
    how = {"numbers": ["size"], "dates": {}, "categories": {"color": ["red"]}}
    with pytest.raises(SystemExit, match=r"new\.csv: no column 'size'; expected a header with the columns"):
        list(read_row.read("new.csv", {"reading": how}))
    with pytest.raises(SystemExit, match=r"new\.csv: no column 'size'; expected a header, and commas"):
        list(read_series.read("new.csv", {"reading": {"channels": ["size"]}}))


@pytest.mark.parametrize("numbers", [["1.234,5", "2,250", "-0,125"], ["1.5", "22.25", "-3"], ["1.234", "2", "3"]])
def test_separators_and_decimal_commas(numbers: list[str]) -> None:
    lines = [f"{numbers[row % 3]};{'red' if row % 2 else 'blue, dark'};{row},5" for row in range(30)]
    Path("old.csv").write_text("\n".join(["size;color;price", *lines]))
    data = TableCSV("old.csv", "price")
    data.ensure_setup()
    assert data.table.num_numeric == 1
    assert_same(read_alone(read_row, data, Path("old.csv")), data, "old.csv")


@pytest.mark.parametrize(
    ("line", "row_message", "series_message"),
    [
        ("1,5,2,5", "row 2: expected 2 cells; put a cell", "row 2: expected cells separated by commas"),
        ("1", "row 2: expected 2 cells; put a cell", "row 2: expected cells separated by commas"),
        ("x,2.5", "row 2: could not convert string to float: 'x'", "could not convert string to float: 'x'"),
        (",2.5", None, "could not convert string to float: ''"),
    ],
)
def test_a_wrong_cell_ends_the_program_with_its_row(line: str, row_message: str | None, series_message: str) -> None:
    Path("new.csv").write_text(f"size,price\n1,2\n{line}\n")
    how = {"numbers": ["size"], "dates": {}, "categories": {}}
    if row_message is None:  # a missing value
        assert [np.isnan(row).any() for _, row in read_row.read("new.csv", {"reading": how})] == [False, True]
    else:
        with pytest.raises(SystemExit, match=f"^new.csv, {row_message}"):
            list(read_row.read("new.csv", {"reading": how}))
    with pytest.raises(SystemExit, match=f"^new.csv.*{series_message}"):
        list(read_series.read("new.csv", {"reading": {"channels": ["size"]}}))


@pytest.mark.parametrize("written", ["2024-03-0{}", "2024-03-0{}T12:30:00", "1{}.03.2024", "1{}.03.2024 06:15"])
def test_dates(written: str) -> None:
    lines = [f"{written.format(day % 9 + 1)},{'red' if day % 2 else 'blue'},{day}" for day in range(30)]
    Path("old.csv").write_text("\n".join(["when,color,price", *lines]))
    Path("new.csv").write_text(f"price,color,when\n,green,{written.format(5)}\n,,\n")
    data = TableCSV("old.csv", "price")
    data.ensure_setup()
    (sample, missing), expected = read_alone(read_row, data, Path("new.csv")), data.read_inputs("new.csv").inputs
    np.testing.assert_allclose(np.stack([sample, missing]), expected, atol=1e-5)


def test_forecasts() -> None:
    write_series(Path("old.csv"), waves(80, 2), ["wind", "sun"])
    data = SeriesCSV("old.csv", look_back=10, horizon=5)
    data.ensure_setup()
    assert_same(read_alone(read_series, data, Path("old.csv")), data, "old.csv")


def test_series_with_classes() -> None:
    write_series_folder(Path("old"))
    data = SeriesFolder("old")
    data.ensure_setup()
    path = next(Path("old").rglob("*.csv"))
    assert_same(read_alone(read_series, data, path), data, path)


@pytest.mark.parametrize("size", [(8, 8), (5, 30), (21, 13)])
def test_tiles_are_stitched_as_in_litnets(size: tuple[int, int]) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *size), dtype=np.uint8))
    tiled = TiledImages([image], torch.tensor([0]), torch.tensor([size]), ["a"], (1, 8, 8), overlap=0.25)
    stitcher = tiled.stitcher(num_classes=3)

    def probabilities(pixels: Any) -> torch.Tensor:
        """Return probabilities that depend on the place in the tile."""
        values = torch.as_tensor(pixels).float() / 255
        place = torch.linspace(0, 1, 8)
        return torch.cat([values, place.expand(values.shape), 1 - values], 1).softmax(1)

    (expected,) = stitcher.add(probabilities(tiled[torch.arange(len(tiled))][0]), torch.arange(len(tiled)))
    how = {"height": 8, "width": 8, "overlap": 0.25}
    mask = tiles.segment(image.numpy(), how, lambda raw: {"probability": probabilities(raw).numpy()})
    np.testing.assert_array_equal(mask, expected.mask)
