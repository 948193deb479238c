import itertools
import math

import pytest
import torch
from torch import nn

from litnets.nets import Transformer
from litnets.nets.transformer import positions

POOLINGS = ["mean", "max", "first"]
LENGTHS = torch.tensor([5, 1, 8, 3])


def sequences(garbage=torch.nan):
    """Return four sequences of 1 to 8 steps of 3 numbers, padded with garbage."""
    x = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(0))
    x[torch.arange(8) >= LENGTHS[:, None]] = garbage
    return x


def make(pooling="mean", **more):
    return Transformer(3, 42, 8, 2, 2, pooling=pooling, **more)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_affect_the_output(pooling):
    net = make(pooling).eval()
    x = sequences()
    alone = torch.cat([net(row[None, :length]) for row, length in zip(x, LENGTHS, strict=True)])
    assert alone.shape == (4, 42)
    torch.testing.assert_close(net(x, LENGTHS), alone)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_gets_no_gradient(pooling):
    x = sequences(1e3).requires_grad_()
    make(pooling, dropout=0.0)(x, LENGTHS).square().sum().backward()
    padding = torch.arange(8) >= LENGTHS[:, None]
    assert x.grad[padding].count_nonzero() == 0
    assert (x.grad[~padding].abs().sum(1) > 0).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_matches_the_encoder_of_torch(pooling):
    net = make(pooling).eval()
    x = sequences(0.0)
    steps = net.project(x) + positions(8, 8)
    padding = torch.arange(8) >= LENGTHS[:, None]
    if pooling == "first":
        steps = torch.cat([net.first.expand(4, 1, 8), steps], 1)
        padding = torch.cat([torch.zeros(4, 1, dtype=torch.bool), padding], 1)
    for layer in net.layers:
        torch_layer = nn.TransformerEncoderLayer(8, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        torch_layer.load_state_dict(
            {
                "self_attn.in_proj_weight": layer.query_key_value.weight,
                "self_attn.in_proj_bias": layer.query_key_value.bias,
                **{f"self_attn.out_proj.{k}": v for k, v in layer.out.state_dict().items()},
                **{f"linear1.{k}": v for k, v in layer.mlp[0].state_dict().items()},
                **{f"linear2.{k}": v for k, v in layer.mlp[3].state_dict().items()},
                **{f"norm1.{k}": v for k, v in layer.norm1.state_dict().items()},
                **{f"norm2.{k}": v for k, v in layer.norm2.state_dict().items()},
            }
        )
        steps = torch_layer.eval()(steps, src_key_padding_mask=padding)
    steps = net.norm(steps)
    valid = [row[~is_padding] for row, is_padding in zip(steps, padding, strict=True)]
    pool = {"mean": lambda s: s.mean(0), "max": lambda s: s.max(0).values, "first": lambda s: s[0]}[pooling]
    torch.testing.assert_close(net(x, LENGTHS), net.head(torch.stack([pool(s) for s in valid])))


def test_positions_match_the_formula():
    actual = positions(50, 6)
    for step, i in itertools.product((0, 1, 49), range(3)):
        angle = step / 10_000 ** (2 * i / 6)
        assert actual[step, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert actual[step, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_gets_a_gradient(pooling):
    net = make(pooling)
    nn.functional.cross_entropy(net(sequences(), LENGTHS), torch.tensor([0, 7, 41, 20])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_lengths_all_steps_are_valid(pooling):
    net = make(pooling).eval()
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(net(x), net(x, torch.full((4,), 7)))


def test_an_image_is_read_as_a_sequence_of_rows():
    images = torch.randn(2, 3, 5, 4)
    net = Transformer(12, 42, 8).eval()
    torch.testing.assert_close(net(images), net(images.transpose(1, 2).reshape(2, 5, 12)))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_the_steps_matters(pooling):
    net = make(pooling).eval()
    x = torch.randn(2, 7, 3)
    assert not torch.allclose(net(x), net(x.flip(1)))


def test_layers_have_different_initial_weights():
    first, second = make().layers
    assert not torch.equal(first.query_key_value.weight, second.query_key_value.weight)


def test_logits_have_no_activation():
    net = make().eval()
    x = torch.randn(2, 7, 3)
    before = net(x)
    with torch.no_grad():
        net.head.bias -= 100
    torch.testing.assert_close(net(x), before - 100)


def test_dropout_is_active_only_in_training():
    net = make(dropout=0.5)
    x = torch.randn(2, 7, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_missing_heads_are_refused():
    with pytest.raises(ValueError, match="num_heads: expected at least 1, got 0"):
        Transformer(3, 2, num_heads=0)


@pytest.mark.parametrize(("hidden_size", "num_heads"), [(10, 4), (9, 3)])
def test_a_size_that_heads_do_not_divide_is_refused(hidden_size, num_heads):
    with pytest.raises(ValueError, match="hidden_size"):
        Transformer(3, 2, hidden_size, num_heads=num_heads)
