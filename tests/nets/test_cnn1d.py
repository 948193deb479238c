import itertools

import pytest
import torch
from torch import nn

from litnets.nets import CNN1d

NORMS, POOLINGS = ["layer", "batch", "none"], ["mean", "max", "last"]
ALL = list(itertools.product(NORMS, POOLINGS, [False, True]))
LENGTHS = torch.tensor([5, 1, 8, 3])


def sequences(garbage=torch.nan):
    """Return four sequences of 1 to 8 steps of 3 numbers, padded with garbage."""
    x = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(0))
    x[torch.arange(8) >= LENGTHS[:, None]] = garbage
    return x


def make(norm="layer", pooling="max", residual=False, **more):
    net = CNN1d(3, 42, [6, 4, 5], 2, 3, "gelu", norm=norm, residual=residual, pooling=pooling, **more)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):  # as after training
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            nn.init.normal_(module.bias)
    return net


@pytest.mark.parametrize(("norm", "pooling", "residual"), ALL)
def test_padding_does_not_affect_the_output(norm, pooling, residual):
    net = make(norm, pooling, residual, dropout=0.5).eval()
    x = sequences()
    alone = torch.cat([net(row[None, :length]) for row, length in zip(x, LENGTHS, strict=True)])
    assert alone.shape == (4, 42)
    torch.testing.assert_close(net(x, LENGTHS), alone)


@pytest.mark.parametrize("norm", NORMS)
def test_padding_does_not_affect_training(norm):
    results = []
    for garbage, more in ((0, 0), (1e3, 5)):
        torch.manual_seed(0)
        net = make(norm)
        x = torch.cat([sequences(garbage), torch.full((4, more, 3), 1e3)], dim=1)
        x.requires_grad_()
        out = net(x, LENGTHS)
        out.square().sum().backward()
        padding = torch.arange(x.shape[1]) >= LENGTHS[:, None]
        assert x.grad[padding].count_nonzero() == 0
        assert (x.grad[~padding].abs().sum(1) > 0).any()
        results.append([out, *(p.grad for p in net.parameters()), *net.buffers()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_batch_statistics_include_only_valid_steps():
    net = CNN1d(3, 2, [6], 1, 3, norm="batch")
    block = net.stages[0][0]
    x = sequences()
    steps = torch.cat([block.conv(row[None, :n].transpose(1, 2))[0].T for row, n in zip(x, LENGTHS, strict=True)])
    net(x, LENGTHS)
    torch.testing.assert_close(block.norm.running_mean, 0.1 * steps.mean(0))
    torch.testing.assert_close(block.norm.running_var, 0.9 + 0.1 * steps.var(0))


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_matches_torch(length):
    net = make("batch", "mean").eval()
    layers = []
    for i, stage in enumerate(net.stages):
        layers += [nn.MaxPool1d(2, ceil_mode=True)] * (i > 0)
        for block in stage:
            layers += [block.conv, block.norm, nn.GELU()]
    x = torch.randn(2, length, 3)
    expected = net.head(nn.Sequential(*layers).eval()(x.transpose(1, 2)).mean(2))
    torch.testing.assert_close(net(x), expected)


def test_layer_norm_normalizes_the_channels_of_each_step():
    block = make("layer").eval().stages[0][1]
    x = torch.randn(2, 6, 7)
    out = block.conv(x)
    mean, var = out.mean(1, keepdim=True), out.var(1, keepdim=True, unbiased=False)
    expected = (out - mean) / (var + 1e-5).sqrt() * block.norm.weight[:, None] + block.norm.bias[:, None]
    torch.testing.assert_close(block(x, torch.ones(2, 7, dtype=torch.bool)), nn.functional.gelu(expected))


def test_a_residual_block_adds_its_input():
    net = CNN1d(3, 2, [6, 6], 2, 3, "identity", "none", residual=True)
    shortcuts = [[type(block.shortcut).__name__ for block in stage] for stage in net.stages]
    assert shortcuts == [["Conv1d", "Identity"], ["Identity", "Identity"]]
    block, x = net.stages[0][1], torch.randn(2, 6, 7)
    torch.testing.assert_close(block(x, torch.ones(2, 7, dtype=torch.bool)), block.conv(x) + x)


@pytest.mark.parametrize(("norm", "pooling", "residual"), ALL)
def test_every_parameter_gets_a_gradient(norm, pooling, residual):
    net = make(norm, pooling, residual)
    nn.functional.cross_entropy(net(sequences(), LENGTHS), torch.tensor([0, 7, 41, 20])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_lengths_all_steps_are_valid(pooling):
    net = make("batch", pooling).eval()
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(net(x), net(x, torch.full((4,), 7)))


def test_an_image_is_read_as_a_sequence_of_rows():
    images = torch.randn(2, 3, 5, 4)
    net = CNN1d(12, 42)
    torch.testing.assert_close(net(images), net(images.transpose(1, 2).reshape(2, 5, 12)))


def test_logits_have_no_activation():
    net = make().eval()
    x = torch.randn(2, 7, 3)
    before = net(x)
    with torch.no_grad():
        net.head.bias -= 100
    torch.testing.assert_close(net(x), before - 100)


def test_dropout_is_active_only_in_training():
    net = CNN1d(3, 42, [8], dropout=0.5)
    x = torch.randn(2, 7, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "odd"),
        ({"widths": []}, "one stage"),
        ({"widths": [4, -1]}, "widths: expected at least 1 channel each"),
        ({"blocks_per_stage": 0}, "blocks_per_stage: expected"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CNN1d(3, 2, **arguments)
