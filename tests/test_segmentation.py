"""Segmentation from the command line and from Python: fit, resume, test, predict."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

import litnets
from litnets.__main__ import main
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
    assert main(["predict", str(run), "new/images"]) == 2
    assert f"for masks: litnets predict {run} --data.predict_path new/images" in capsys.readouterr().err
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
