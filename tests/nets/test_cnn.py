import itertools

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from litnets.nets import CNN

NORMS = ["batch", "group", "none"]
POOLS = ["max", "avg", "stride"]
SMALL = {"widths": (6, 12), "blocks_per_stage": 2}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (28, 28), (32, 32)])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("pool", POOLS)
def test_accepts_images_of_any_size(size, channels, pool):
    net = CNN(channels, 42, widths=(4, 4, 4, 4, 4), blocks_per_stage=1, pool=pool).eval()
    assert net(torch.rand(2, channels, *size)).shape == (2, 42)


@pytest.mark.parametrize(("norm", "pool", "residual"), list(itertools.product(NORMS, POOLS, [False, True])))
def test_every_parameter_gets_a_gradient(norm, pool, residual):
    net = CNN(3, 42, norm=norm, pool=pool, residual=residual, **SMALL)
    nn.functional.cross_entropy(net(torch.randn(48, 3, 8, 8)), torch.arange(48) % 42).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("norm", "pool", "residual"), list(itertools.product(NORMS, POOLS, [False, True])))
def test_samples_do_not_affect_each_other(norm, pool, residual):
    net = CNN(3, 42, norm=norm, pool=pool, residual=residual, dropout=0.5, **SMALL)
    net(torch.randn(8, 3, 8, 8) + 1)  # moves the running statistics
    net.eval()
    x = torch.randn(4, 3, 8, 8)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


def test_logits_have_no_activation():
    net = CNN(1, 42, **SMALL).eval()
    x = torch.randn(2, 1, 8, 8)
    before = net(x)
    *_, bias = net.parameters()
    with torch.no_grad():
        bias -= 100
    torch.testing.assert_close(net(x), before - 100)


@pytest.mark.parametrize(("pool", "reduce"), [("max", np.max), ("avg", np.mean)])
def test_matches_scipy(pool, reduce):
    net = CNN(2, 3, widths=(4,), blocks_per_stage=1, norm="none", pool=pool)
    image = np.random.default_rng(0).normal(size=(2, 8, 10)).astype("float32")
    (kernels, offsets, weight, bias) = (p.detach().numpy() for p in net.parameters())
    maps = np.stack(
        [
            sum(correlate2d(image[c], kernel[c], "same") for c in range(2)) + offset
            for kernel, offset in zip(kernels, offsets, strict=True)
        ]
    )
    pooled = reduce(np.maximum(maps, 0).reshape(4, 4, 2, 5, 2), axis=(2, 4))
    expected = weight @ pooled.mean(axis=(1, 2)) + bias
    np.testing.assert_allclose(net(torch.from_numpy(image)[None])[0].detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "sides"),
    [
        ("max", [(4, 6), (2, 3), (1, 1), (1, 1)]),
        ("avg", [(4, 6), (2, 3), (1, 1), (1, 1)]),
        ("stride", [(5, 7), (3, 4), (2, 2), (1, 1)]),
    ],
)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_each_stage_halves_the_image(pool, sides, kernel_size):
    x = torch.randn(1, 1, 9, 13)
    net = CNN(1, 2, widths=(2, 3, 4, 5), kernel_size=kernel_size, norm="none", pool=pool)
    for stage, side in zip(net.stages, sides, strict=True):
        x = stage(x)
        assert x.shape[2:] == side


@pytest.mark.parametrize(("width", "stride"), [(3, False), (5, False), (3, True)])
def test_residual_adds_the_input(width, stride):
    """With zero convolutions, a block is its shortcut followed by the activation."""
    net = CNN(3, 2, (width,), 1, norm="none", residual=True, pool="stride" if stride else "max")
    block = net.stages[0][0]
    nn.init.zeros_(block.conv.weight)
    nn.init.zeros_(block.conv.bias)
    x = torch.randn(2, 3, 6, 6)
    expected = x if width == 3 and not stride else nn.functional.conv2d(x, block.shortcut.weight, stride=1 + stride)
    torch.testing.assert_close(block(x), expected.relu())


def test_without_residual_nothing_is_added():
    block = CNN(3, 2, (3,), 1, norm="none").stages[0][0]
    nn.init.zeros_(block.conv.weight)
    nn.init.zeros_(block.conv.bias)
    assert block(torch.randn(2, 3, 6, 6)).count_nonzero() == 0


@pytest.mark.parametrize(("width", "groups"), [(16, 8), (12, 4), (6, 2), (5, 1)])
def test_groups_divide_the_width(width, groups):
    norm = CNN(1, 2, (width,), 1, norm="group").stages[0][0].norm
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_dropout_drops_channels_between_stages_and_features_before_the_head():
    net = CNN(1, 5, (400,), 1, activation="sigmoid", dropout=0.25)
    maps = net.stages(torch.randn(1, 1, 8, 8))[0]
    zero = (maps == 0).flatten(1)
    assert torch.equal(zero.all(1), zero.any(1))  # a channel is dropped completely or not at all
    assert zero.all(1).float().mean().item() == pytest.approx(0.25, abs=0.08)
    features = net.head[:-1](torch.ones(1, 400, 2, 2))
    assert (features == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: .* odd"),
        ({"widths": ()}, "at least one stage"),
        ({"widths": (4, 0)}, r"widths: expected at least 1 channel each, got \[4, 0\]"),
        ({"blocks_per_stage": 0}, "blocks_per_stage: expected at least 1, got 0"),
    ],
)
def test_invalid_sizes_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        CNN(1, 2, **argument)
