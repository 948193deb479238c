import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy

from litnets.nets import ResNet


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("depth", "millions", "digits"),
    [
        # He et al. 2016, table 6.
        (20, 0.27, 2),
        (32, 0.46, 2),
        (44, 0.66, 2),
        (56, 0.85, 2),
        (110, 1.7, 1),
        # Table 1: 11.69 million with 1000 classes, minus 0.508 for 990 classes and 0.008 for a 3x3 instead of a 7x7
        # convolution.
        (18, 11.17, 2),
    ],
)
def test_parameter_count_matches_the_paper(depth, millions, digits):
    assert round(parameters(ResNet(3, 10, depth)) / 1e6, digits) == millions


@pytest.mark.parametrize("depth", [18, 20, 32])
def test_depth_is_the_number_of_layers(depth):
    net = ResNet(3, 10, depth)
    kernels = [m for m in net.modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", None) == (3, 3)]
    assert len(kernels) == depth


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 13), (32, 32)])
@pytest.mark.parametrize("depth", [18, 20])
def test_accepts_images_of_any_size(size, depth):
    assert ResNet(2, 42, depth).eval()(torch.rand(2, 2, *size)).shape == (2, 42)


@pytest.mark.parametrize(("depth", "sides"), [(20, [8, 4, 2]), (18, [8, 4, 2, 1])])
def test_each_stage_but_the_first_halves_the_image(depth, sides):
    net = ResNet(1, 2, depth)
    x = net.stem(torch.randn(2, 1, 8, 8))
    for stage, side in zip(net.stages, sides, strict=True):
        x = stage(x)
        assert x.shape[2:] == (side, side)


@pytest.mark.parametrize("depth", [18, 20])
def test_every_parameter_gets_a_gradient(depth):
    net = ResNet(3, 42, depth)
    cross_entropy(net(torch.randn(48, 3, 8, 8)), torch.arange(48) % 42).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("depth", [18, 20])
def test_samples_do_not_affect_each_other(depth):
    net = ResNet(3, 42, depth)
    net(torch.randn(8, 3, 8, 8) + 1)  # moves the running statistics
    net.eval()
    x = torch.randn(4, 3, 8, 8)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [18, 20])
def test_a_block_adds_its_input(depth):
    """If the second normalization returns zero, a block is its shortcut followed by the activation."""
    net = ResNet(3, 2, depth)
    first, downsampling = net.stages[0][0], net.stages[1][0]
    for block in (first, downsampling):
        nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, net.stem[0].out_channels, 6, 6)
    torch.testing.assert_close(first.eval()(x), x.relu())
    if depth == 18:
        expected = conv2d(x, downsampling.shortcut[0].weight, stride=2) / (1 + 1e-5) ** 0.5
    else:
        expected = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 16, 3, 3)], 1)
    torch.testing.assert_close(downsampling.eval()(x), expected.relu())


def test_logits_have_no_activation():
    net = ResNet(1, 42).eval()
    x = torch.randn(2, 1, 8, 8)
    before = net(x)
    *_, bias = net.parameters()
    with torch.no_grad():
        bias -= 100
    torch.testing.assert_close(net(x), before - 100)


def test_weights_are_initialized_as_in_the_paper():
    weight = ResNet(3, 10, 20).stages[2][1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth: expected one of 18, 20, 32, 44, 56, 110, got 50"):
        ResNet(3, 10, 50)
