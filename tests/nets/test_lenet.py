import numpy as np
import pytest
import torch

from litnets.nets import LeNet


def test_parameter_count_matches_the_paper():
    """With full connections between the convolutions and a linear last layer: 156 + 2416 + 48120 + 10164 + 850."""
    assert sum(parameter.numel() for parameter in LeNet((1, 32, 32), 10).parameters()) == 61_706


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 8, 8), (3, 1, 40), (2, 45, 61)])
def test_images_of_any_size(shape):
    assert LeNet(shape, 7)(torch.randn(2, *shape)).shape == (2, 7)


def test_a_smaller_image_is_padded_on_all_sides():
    net = LeNet((1, 28, 28), 10).eval()
    image = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2), (2, 2)))
    assert torch.equal(net(torch.from_numpy(image)), net(torch.from_numpy(padded)))


def test_the_activation_and_the_initialization_are_used():
    net = LeNet((1, 8, 8), 3, activation="relu", init="zeros")
    assert sum(isinstance(module, torch.nn.ReLU) for module in net.modules()) == 4
    assert all(not parameter.any() for parameter in net.parameters())
