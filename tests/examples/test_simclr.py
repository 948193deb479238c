from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples import simclr
from litnets import CNNClassifier
from litnets.training.checkpoints.loading import load_weights
from tests.helpers.tiny import write_mnist


def test_the_loss_is_that_of_the_paper():
    """Equation 1 of the paper, in NumPy, averaged over all 2 N views."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    views = np.concatenate([a, b])
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    losses = []
    for i in range(10):
        others = [np.exp(views[i] @ views[k] / 0.5) for k in range(10) if k != i]
        losses.append(-np.log(np.exp(views[i] @ views[(i + 5) % 10] / 0.5) / sum(others)))
    loss = simclr.nt_xent(torch.from_numpy(a), torch.from_numpy(b), temperature=0.5)
    assert loss.item() == pytest.approx(np.mean(losses))


def test_a_view_is_a_crop_with_another_contrast():
    """A gradient from left to right stays one: an affine function of the column, as steep as the crop is wide."""
    torch.manual_seed(0)
    columns = torch.linspace(-1, 1, 28).expand(100, 1, 28, 28)
    views = simclr.random_view(columns, smallest=0.3)[:, 0, 0, 2:-2]  # without the border
    slopes = views.diff()
    assert torch.allclose(slopes, slopes[:, :1].expand_as(slopes), atol=1e-5)
    steepness = slopes[:, 0].abs() / (2 / 27)
    assert 0.5 * 0.3**0.5 <= steepness.min() < 0.5
    assert 1.1 < steepness.max() <= 1.5
    assert 30 < (slopes[:, 0] < 0).sum() < 70  # mirrored


def test_pretraining_makes_two_views_of_an_image_similar():
    torch.manual_seed(0)
    images = torch.randn(256, 1, 4, 4).repeat_interleave(3, 2).repeat_interleave(3, 3)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(144, 32))

    def loss() -> float:
        with torch.no_grad():
            return simclr.nt_xent(encoder(simclr.random_view(images)), encoder(simclr.random_view(images)), 0.2).item()

    before = loss()
    simclr.pretrain(encoder, 32, images, epochs=30)
    assert loss() < before - 0.2


def test_the_example_learns_and_its_checkpoint_starts_a_run(tmp_path: Path, monkeypatch, capsys):
    from torchvision import datasets

    checksums = write_mnist(tmp_path, "FashionMNIST", train=400)
    monkeypatch.setattr(datasets.FashionMNIST, "resources", list(checksums.items()))
    scores = simclr.main(["--data_dir", str(tmp_path), "--images", "300", "--epochs", "1", "--steps", "5"])
    assert list(scores) == ["linear probe", "fine-tuned", "from scratch"]
    assert "300 labels: test/accuracy" in capsys.readouterr().out
    torch.manual_seed(1)
    model = CNNClassifier(input_shape=[1, 28, 28], num_classes=10, blocks_per_stage=1, pool="stride")
    assert load_weights(Path("simclr.ckpt"), model, partial=False) == "weights from simclr.ckpt"
    saved = torch.load("simclr.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(model.net.stages[0][0].conv.weight, saved["net.stages.0.0.conv.weight"])
