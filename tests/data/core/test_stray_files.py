from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from litnets.data import AudioFolder, ImageFolder, SeriesFolder, TextFiles
from litnets.data.core.stray_files import find_copies
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_series import write_series_folder
from tests.helpers.tiny_sound import write_audio_folder, write_wav
from tests.helpers.tiny_text import rows, write_texts


def copy(source: str, *targets: str) -> None:
    for target in targets:
        Path(target).write_bytes(Path(source).read_bytes())


def test_files_without_a_fault_are_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("images"))
    ImageFolder("images", size=8).setup()
    write_audio_folder(Path("sounds"))
    AudioFolder("sounds", sample_rate=8000).setup()
    write_series_folder(Path("series"))
    SeriesFolder("series").setup()
    TextFiles(
        str(write_texts(Path("texts"), [(f"{text} {i}", label) for i, (text, label) in enumerate(rows())]))
    ).setup()
    assert capsys.readouterr().out == ""


def test_copies_across_splits_and_classes_are_listed_first(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        write_image_folder(Path("pets", part), size=6 if part == "train" else 3)
        for file in Path("pets/test").rglob("*.png"):
            Image.effect_noise((9, 9), 50).save(file)
        for file in Path("pets/test").rglob("*.jpg"):
            Image.effect_noise((9, 9), 50).save(file)
    copy("pets/train/cat/00.png", "pets/train/cat/a.png", "pets/train/cat/b.png", "pets/train/dog/c.png")
    copy("pets/train/owl/02.png", "pets/test/owl/d.png")
    copy("pets/train/owl/04.png", "pets/test/cat/e.png")
    ImageFolder("pets", size=8, val_size=0.0001).setup()
    assert capsys.readouterr().out.splitlines() == [
        "5 of 32 images are copies of others, 2 in another split, 2 in another class (pets/train/owl/04.png = "
        "pets/test/cat/e.png, pets/train/owl/02.png = pets/test/owl/d.png, pets/train/cat/00.png = "
        "pets/train/dog/c.png and 2 more)"
    ]


def test_copies_of_texts_are_reported_across_given_splits(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        write_texts(Path("texts", f"{part}.csv"), [(f"{part} {i}", "ab"[i % 2]) for i in range(20)])
    with Path("texts/test.csv").open("a") as file:
        file.write("train 3,b\ntrain 5,a\n")
    TextFiles("texts", min_count=1).setup()
    assert (
        "2 of 42 texts are copies of others, 2 in another split, 1 in another class (texts/train.csv, line 7 = "
        "texts/test.csv, line 23, texts/train.csv, line 5 = texts/test.csv, line 22)"
    ) in capsys.readouterr().out


def test_skipped_files_are_not_copies(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("pets"))
    for name in ("cat/a.png", "dog/b.png"):
        Path("pets", name).write_bytes(b"")
    ImageFolder("pets", size=8, skip_broken=True).setup()
    output = capsys.readouterr().out
    assert "2 of 62 images cannot be read" in output
    assert "copies" not in output
    assert "smaller" not in output


@pytest.mark.parametrize("budget", [2.0, 0.0])
def test_images_of_one_color_are_reported(budget: float, capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("pets"))
    for name, mode, color in (("cat/a.png", "RGB", (9, 8, 7)), ("dog/b.jpg", "L", 255), ("dog/c.gif", "1", 0)):
        Image.new(mode, (30, 20), color).save(Path("pets", name))
    one_pixel = np.full((8, 8, 3), 5, np.uint8)
    one_pixel[7, 7, 2] = 6
    Image.fromarray(one_pixel).save("pets/owl/d.png")
    ImageFolder("pets", size=8, memory_budget=budget).setup()
    expected = "3 of 64 images have a single color (pets/cat/a.png, pets/dog/b.jpg, pets/dog/c.gif)"
    assert expected in capsys.readouterr().out.splitlines()


def test_reports_are_not_repeated_for_a_trained_run(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("pets"))
    for name in ("cat/a.png", "dog/b.png"):
        Image.new("L", (1, 1)).save(Path("pets", name))
    for trained_state, num_lines in ((None, 2), ({"mean": [0.0] * 3}, 0)):
        data = ImageFolder("pets", size=8)
        data.trained_state = trained_state
        data.setup()
        assert len(capsys.readouterr().out.splitlines()) == num_lines


def test_silent_recordings_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_audio_folder(Path("sounds"))
    write_wav(Path("sounds/low/a.wav"), np.zeros(500, np.int16))
    AudioFolder("sounds", sample_rate=8000).setup()
    assert capsys.readouterr().out.splitlines() == ["1 of 61 recordings are silent (sounds/low/a.wav: 0)"]


def test_files_far_smaller_than_the_rest_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(30):
        Path("pets", "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((60, 60), 50).save(f"pets/{'ab'[i % 2]}/{i:02}.png")
    placeholder = np.zeros((9, 9), np.uint8)
    placeholder[4] = 255
    for i, name in enumerate(("a/x.png", "b/y.png")):
        placeholder[5] = i
        Image.fromarray(placeholder).save(f"pets/{name}")
    ImageFolder("pets", size=8).setup()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("2 of 32 images are far smaller than the rest, at most ")
    assert line.endswith(" bytes (pets/a/x.png, pets/b/y.png)")


def test_many_small_files_are_a_kind_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(30):
        Path("pets", "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        side = 4 if i % 5 == 0 else 60
        Image.effect_noise((side, side), 50).save(f"pets/{'ab'[i % 2]}/{i:02}.png")
    ImageFolder("pets", size=8).setup()
    assert capsys.readouterr().out == ""


def test_small_series_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(12):
        path = Path("waves", "ab"[i % 2], f"{i:02}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = 2 if i == 3 else 200
        values = torch.randn(steps, generator=torch.Generator().manual_seed(i)).tolist()
        path.write_text("x\n" + "".join(f"{value}\n" for value in values))
    SeriesFolder("waves").setup()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("1 of 12 CSV files are far smaller than the rest")
    assert line.endswith("(waves/b/03.csv)")


def test_the_original_of_equal_samples_is_in_train_if_any_is() -> None:
    contents = np.array([7, 7, 7, 8, 9, 8], np.uint64)
    splits = {"train": torch.tensor([2]), "val": torch.tensor([1, 0, 4]), "test": torch.tensor([5, 3])}
    copies, originals = find_copies(contents, splits)
    assert dict(zip(copies.tolist(), originals.tolist(), strict=True)) == {0: 2, 1: 2, 5: 3}
