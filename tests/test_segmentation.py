"""Segmentation from the command line and from Python: fit, resume, test, predict."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

import litnets
from litnets.__main__ import main
from litnets.data.images import segmentation
from litnets.errors import InputError
from tests.helpers.tiny_masks import write_masked_images

TINY = ["--model", "UNetSegmenter", "--model.widths", "[4, 8]", "--wandb.mode", "off", "--runs_dir", "runs"]
TINY += ["--data", "Shapes", "--data.samples", "40", "--data.size", "16", "--data.batch_size", "8", "--recipe", "false"]
TINY += ["--data.augment", "[RandomFlip]", "--model.dropout", "0.2"]


def fit(name: str, epochs: int) -> Path:
    assert main(["fit", *TINY, "--trainer.max_epochs", str(epochs), "--experiment", name]) == 0
    (run,) = Path("runs", name).iterdir()
    return run


def test_fit_test_predict_and_load(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("first", 1)
    results = json.loads((run / "results.json").read_text())
    assert results["best"]["monitor"] == "val/iou"
    assert {"loss", "iou", "dice", "accuracy"} == results["test"].keys()
    assert results["test_per_class"].keys() == {"background", "circle", "square", "triangle"}
    assert results["test_per_class"]["circle"].keys() == {"iou", "dice"}

    assert main(["test", str(run)]) == 0
    assert main(["validate", str(run)]) == 0
    assert json.loads((run / "results.json").read_text())["test"] == results["test"]

    write_masked_images(Path("new"), sizes=[(23, 31), (9, 40)])
    assert main(["predict", str(run), "--data.predict_path", "new/images"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.endswith(f"masks and overlays: {run}/predictions\n")
    net = litnets.load(run)
    for name, size in (("0", (23, 31)), ("1", (9, 40))):
        image = f"new/images/{name}.png"
        with Image.open(run / "predictions" / "masks" / f"{name}.png") as opened:
            written = np.array(opened)
        assert written.shape == size
        mask, probability = net.predict(image), net.predict_proba(image)
        np.testing.assert_array_equal(mask[0], written)
        assert probability.shape == (1, 4, *written.shape)
        np.testing.assert_array_equal(probability.argmax(1), mask)
        np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    with pytest.raises(InputError, match="expected images of one size"):
        net.predict("new/images")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a trained run, whose batches have five tiles."""
    folder = tmp_path_factory.mktemp("fitted")
    data = litnets.Shapes(samples=40, size=16, eval_batch_size=5)
    off: dict[str, Any] = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "test_after_fit": False}
    return str(litnets.fit(litnets.UNetSegmenter, data, runs_dir=str(folder), **off).folder)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_streamed_masks_equal_those_of_predict_path_and_of_python(
    fitted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(segmentation, "_CHUNK_IMAGES", 2)  # batches span several chunks
    write_masked_images(Path("new"), sizes=[(23, 31)] * 5)
    new = "new/images"
    assert main(["predict", fitted, new, "--output", "streamed/masks"]) == 2
    assert "--output streamed/masks.csv is in no existing folder" in capsys.readouterr().err
    for name in ("streamed", "whole"):
        Path(name).mkdir()
    assert main(["predict", fitted, new, "--output", "streamed/masks"]) == 0
    assert capsys.readouterr().out == "predictions: streamed/masks.csv\nmasks and overlays: streamed/masks\n"
    assert main(["predict", fitted, "--data.predict_path", new, "--output", "whole/masks.csv"]) == 0
    assert files_in(Path("streamed")) == files_in(Path("whole"))
    for number, mask in enumerate(litnets.load(fitted).predict(new)):
        with Image.open(f"streamed/masks/masks/{number}.png") as opened:
            np.testing.assert_array_equal(mask, np.array(opened))


def test_masks_in_the_run_folder(fitted: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path("new"), sizes=[(23, 31), (9, 40)])
    Path("new/images/1.png").write_bytes(b"broken")
    write_masked_images(Path("more"), sizes=[(16, 12)])
    run = Path(shutil.copytree(fitted, "run"))
    assert main(["predict", "run", "new/images", "more/images/0.png", "none.png"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "predictions: run/predictions.csv\nmasks and overlays: run/predictions\n"
    missing, broken = printed.err.splitlines()
    assert missing.startswith("litnets: none.png cannot be read: ")
    assert broken == "litnets: new/images/1.png: not an image, or a broken one"
    masks = run / "predictions" / "masks"
    assert sorted(str(path.relative_to(masks)) for path in masks.rglob("*.png")) == [
        "more/images/0.png",
        "new/images/0.png",
    ]
    rows = (run / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["0", "new/images/0.png"], ["1", "more/images/0.png"]]


def test_masks_of_the_user_are_not_replaced(fitted: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path("new"), sizes=[(23, 31)])
    before = files_in(Path("new"))
    for options in (["new/images", "--output", "new"], ["--data.predict_path", "new/images", "--output", "new.csv"]):
        assert main(["predict", fitted, *options]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("litnets: new is not empty; --overwrite replaces")
    assert files_in(Path("new")) == before
    for output in ("-", "a.jsonl", "."):
        assert main(["predict", fitted, "new/images", "--output", output]) == 2
        assert f"--output {output}: masks are written into a folder" in capsys.readouterr().err
    Path("taken").touch()
    assert main(["predict", fitted, "new/images", "--output", "taken"]) == 2
    assert "taken, the folder of the masks, is a file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one() -> None:
    straight, resumed = fit("straight", 3), fit("resumed", 2)
    assert main(["resume", str(resumed), "--trainer.max_epochs", "3"]) == 0
    states = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (straight, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    tests = [json.loads((run / "results.json").read_text())["test"] for run in (straight, resumed)]
    assert tests[0] == tests[1]


@pytest.mark.slow
def test_random_crops_of_files_are_resumed_exactly_and_new_files_are_tested(capsys: pytest.CaptureFixture[str]) -> None:
    write_masked_images(Path("data"), values=(0, 255))
    augment = '[{"class_path": "RandomAffine"}, {"class_path": "Noise"}]'
    data = ["SegmentationFolder", "--data.root", "data", "--data.crop_size", "16", "--data.augment", augment]
    options = ["--model", "UNetSegmenter", "--model.widths", "[4, 8]", "--data", *data, "--data.batch_size", "4"]
    runs = []
    for name, epochs in (("straight", "3"), ("resumed", "1")):
        more = ["--runs_dir", "runs", "--experiment", name, "--recipe", "false", "--trainer.max_epochs", epochs]
        assert main(["fit", *options, *more]) == 0
        runs += Path("runs", name).iterdir()
    assert main(["resume", str(runs[1]), "--trainer.max_epochs", "3"]) == 0
    states = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    Path("data").rename("new")
    capsys.readouterr()
    assert main(["test", str(runs[0]), "--on", "new"]) == 0
    assert "foreground" in capsys.readouterr().out


def test_a_classifier_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "Shapes", "--data.samples", "10", "--data.size", "16"]
    assert main(["fit", "--model", "CNNClassifier", *options]) == 2
    message = "CNNClassifier predicts classes, but the targets of the data are masks: use UNetSegmenter for masks"
    assert message in " ".join(capsys.readouterr().err.split())
    assert main(["fit", "--model", "UNetSegmenter", "--data", "Digits"]) == 2
    assert "UNetSegmenter predicts masks, but the targets of the data are something else" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pretrained_encoder_is_loaded_for_a_new_run_only(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(shufflenet_v2_x0_5().state_dict(), "encoder.pth")
    options = ["--model", "TorchvisionUNetSegmenter", "--model.backbone", "shufflenet_v2_x0_5", "--model.width", "2"]
    options += ["--model.weights", "encoder.pth", "--data", "Shapes", "--data.samples", "40", "--data.size", "32"]
    options += ["--trainer.callbacks", "Unfreeze", "--trainer.callbacks.schedule", "{head: 1, rest: 2}"]
    assert main(["fit", *options, "--trainer.max_epochs", "2", "--runs_dir", "runs", "--wandb.mode", "off"]) == 0
    printed = capsys.readouterr().out
    assert "weights from encoder.pth\n" in printed
    assert "trained from epoch 1: head; from epoch 2: decoder.4, " in printed
    (run,) = Path("runs").glob("*/*")
    Path("encoder.pth").unlink()
    assert main(["test", str(run)]) == 0
    assert main(["resume", str(run), "--trainer.max_epochs", "3"]) == 0
    write_masked_images(Path("new"), sizes=[(23, 31)])
    assert main(["predict", str(run), "--data.predict_path", "new/images"]) == 0
    mask = litnets.load(run).predict("new/images/0.png")
    assert mask.shape == (1, 23, 31)
