import math

import numpy as np
import pytest
import torch
from torch import nn

from litnets.nets import MLP
from litnets.nets.layers.activation import ACTIVATIONS

BY_HAND = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "identity": lambda x: x,
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def linear(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matches_numpy(activation):
    net = MLP(6, 5, hidden_layer_sizes=[8, 7], activation=activation)
    first, second, last = (layer for layer in net.layers if isinstance(layer, nn.Linear))
    x = torch.randn(4, 2, 3)
    hidden = BY_HAND[activation](linear(first, x.numpy().reshape(4, 6)))
    expected = linear(last, BY_HAND[activation](linear(second, hidden)))
    np.testing.assert_allclose(net(x).detach(), expected, rtol=1e-4, atol=1e-5)


def test_layers_are_those_of_the_pytorch_tutorial():
    net = MLP(784, 10, hidden_layer_sizes=[512, 512])
    expected = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )
    assert str(net.layers) == str(expected)


def test_arguments_may_differ_from_layer_to_layer():
    net = MLP(
        20, 3, [16, 8], activation=["relu", "leaky_relu"], dropout=[0.3, 0.0], batch_norm=[False, True], init="he"
    )
    expected = nn.Sequential(
        nn.Flatten(),
        nn.Linear(20, 16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 8),
        nn.BatchNorm1d(8),
        nn.LeakyReLU(),
        nn.Linear(8, 3),
    )
    assert str(net.layers) == str(expected)


def test_without_hidden_layers_the_network_is_linear():
    assert str(MLP(4, 3, []).layers) == str(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_parameter_gets_a_gradient(activation, batch_norm):
    net = MLP(12, 42, [9, 7], activation=activation, batch_norm=batch_norm)
    nn.functional.cross_entropy(net(torch.randn(64, 12)), torch.arange(64) % 42).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_have_no_activation(activation):
    net = MLP(5, 42, [8], activation=activation)
    x = torch.randn(3, 5)
    before = net(x)
    *_, bias = net.parameters()
    with torch.no_grad():
        bias -= 100
    torch.testing.assert_close(net(x), before - 100)


def test_samples_do_not_affect_each_other():
    net = MLP(5, 42, [8, 8], dropout=0.5, batch_norm=True)
    net(torch.randn(32, 5) + 1)  # moves the running statistics
    net.eval()
    x = torch.randn(6, 5)
    alone = torch.cat([net(x[i : i + 1]) for i in range(6)])
    assert alone.shape == (6, 42)
    torch.testing.assert_close(net(x), alone)


def test_dropout_drops_this_fraction_of_the_hidden_units():
    net = MLP(1, 1000, [4000], activation="sigmoid", dropout=0.25)
    net.layers[-1] = nn.Identity()
    dropped = (net(torch.ones(1, 1)) == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("argument", [{"activation": ["relu"]}, {"dropout": [0.1] * 3}, {"batch_norm": []}])
def test_a_list_of_the_wrong_length_is_refused(argument):
    with pytest.raises(ValueError, match=rf"{next(iter(argument))}: .* 2 hidden layers, got \d"):
        MLP(4, 2, [3, 3], **argument)


def test_a_linear_skip_starts_at_zero_and_adds_a_linear_map():
    net = MLP(6, 5, hidden_layer_sizes=[8], linear_skip=True)
    x = torch.randn(4, 2, 3)
    assert not net(x).any()
    weight = torch.randn(5, 6)
    with torch.no_grad():
        net.skip.weight.copy_(weight)
    torch.testing.assert_close(net(x), x.flatten(1) @ weight.T)


def test_a_linear_skip_learns_a_linear_map_and_more():
    net = MLP(3, 2, hidden_layer_sizes=[8], linear_skip=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):  # the hidden layer gets a gradient from the second step on
        optimizer.zero_grad()
        (net(torch.randn(16, 3)) - 1).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in net.parameters())
