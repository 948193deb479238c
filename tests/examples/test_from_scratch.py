"""The networks of examples/from_scratch against finite differences and against PyTorch."""

import sys

import numpy as np
import pytest
import torch
from torch import nn as torch_nn
from torch.nn.functional import cross_entropy

from litnets.nets import CNN, MLP, RNN
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "examples" / "from_scratch"))
import digits
import nn
import xor

sys.path.pop(0)

RNG = np.random.default_rng(0)


class SameDropout(nn.Dropout):
    """Dropout with the same mask in every step."""

    def forward(self, x, training=False):
        self.rng = np.random.default_rng(3)
        return super().forward(x, training)


LAYERS = {
    "Linear": (lambda: nn.Linear(RNG, 5, 4), (3, 5)),
    "ReLU": (nn.ReLU, (3, 5)),
    "Tanh": (nn.Tanh, (3, 5)),
    "Sigmoid": (nn.Sigmoid, (3, 5)),
    "BatchNorm": (lambda: nn.BatchNorm(5), (6, 5)),
    "BatchNorm of images": (lambda: nn.BatchNorm(2), (3, 2, 4, 5)),
    "Flatten": (nn.Flatten, (3, 2, 4, 5)),
    "Conv2d": (lambda: nn.Conv2d(RNG, 2, 3), (2, 2, 5, 4)),
    "Conv2d 5x5": (lambda: nn.Conv2d(RNG, 1, 2, size=5), (2, 1, 6, 7)),
    "Dropout": (lambda: SameDropout(RNG, 0.4), (6, 5)),
    "MaxPool": (nn.MaxPool, (2, 2, 4, 6)),
    "MaxPool of odd sides": (nn.MaxPool, (2, 2, 5, 7)),
    "GlobalAveragePool": (nn.GlobalAveragePool, (2, 3, 4, 5)),
    "RNN": (lambda: nn.RNN(RNG, 3, 4), (2, 5, 3)),
    "GRU": (lambda: nn.GRU(RNG, 3, 4), (2, 5, 3)),
    "LSTM": (lambda: nn.LSTM(RNG, 3, 4), (2, 5, 3)),
}


def numerical(function, array, eps=1e-6):
    """Return the gradient of a scalar function by central differences."""
    grad = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + eps
        above = function()
        array[index] = value - eps
        grad[index] = (above - function()) / (2 * eps)
        array[index] = value
    return grad


def assert_close(actual, expected):
    assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name):
    make, shape = LAYERS[name]
    rng = np.random.default_rng(1)
    layer, x = make(), rng.normal(size=shape)
    for value in layer.params.values():
        value += rng.normal(size=value.shape) * 0.3
    weights = rng.normal(size=layer.forward(x, training=True).shape)  # the loss is a weighted sum of the outputs

    def loss():
        return (layer.forward(x, training=True) * weights).sum()

    loss()
    assert_close(layer.backward(weights), numerical(loss, x))
    loss()
    layer.backward(weights)
    grads = dict(layer.grads)
    assert grads.keys() == layer.params.keys()
    for key, value in layer.params.items():
        assert_close(grads[key], numerical(loss, value))


def test_the_gradient_of_cross_entropy():
    logits, targets = RNG.normal(size=(4, 3)) * 5, np.array([0, 2, 1, 1])
    loss, grad = nn.cross_entropy(logits, targets)
    assert_close(grad, numerical(lambda: nn.cross_entropy(logits, targets)[0], logits))
    assert loss == pytest.approx(cross_entropy(torch.tensor(logits), torch.tensor(targets)).item(), abs=1e-12)
    assert nn.cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))[0] == pytest.approx(1e4)


def parts(*layers):
    return nn.Network(*layers)


class TorchDropout(torch_nn.Module):
    """Dropout in PyTorch with the masks of `nn.Dropout(np.random.default_rng(3), 0.4)`."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(3)

    def forward(self, x):
        return x * torch.tensor(self.rng.random(x.shape) >= 0.4) / 0.6 if self.training else x


def mlp_with_dropout():
    mlp = MLP(64, 10, (16, 12), "tanh", dropout=[0.4, 0.0])
    mlp.layers[3] = TorchDropout()
    return mlp


# A litnets network, and the layers of the same network from scratch.
NETWORKS = {
    "Linear": (
        lambda: MLP(64, 10, (16, 12), "tanh"),
        lambda: parts(
            *(nn.Flatten(), nn.Linear(RNG, 64, 16), nn.Tanh()),
            *(nn.Linear(RNG, 16, 12), nn.Tanh(), nn.Linear(RNG, 12, 10)),
        ),
    ),
    "BatchNorm": (
        lambda: MLP(64, 10, (16,), batch_norm=True),
        lambda: parts(nn.Flatten(), nn.Linear(RNG, 64, 16), nn.BatchNorm(16), nn.ReLU(), nn.Linear(RNG, 16, 10)),
    ),
    "Dropout": (
        mlp_with_dropout,
        lambda: parts(
            *(nn.Flatten(), nn.Linear(RNG, 64, 16), nn.Tanh(), nn.Dropout(np.random.default_rng(3), 0.4)),
            *(nn.Linear(RNG, 16, 12), nn.Tanh(), nn.Linear(RNG, 12, 10)),
        ),
    ),
    "Conv2d": (
        lambda: CNN(1, 10, (4, 6), blocks_per_stage=1, norm="none"),
        lambda: parts(
            *(nn.Conv2d(RNG, 1, 4), nn.ReLU(), nn.MaxPool(), nn.Conv2d(RNG, 4, 6), nn.ReLU(), nn.MaxPool()),
            *(nn.GlobalAveragePool(), nn.Linear(RNG, 6, 10)),
        ),
    ),
    **{
        layer.__name__: (
            lambda layer=layer: RNN(8, 10, 7, cell=layer.__name__.lower()),
            lambda layer=layer: parts(digits.Rows(), layer(RNG, 8, 7), nn.Linear(RNG, 7, 10)),
        )
        for layer in (nn.RNN, nn.GRU, nn.LSTM)
    },
}


def copy_weights(source, target):
    pairs = zip(source.parameters(), target.parameters(), strict=True)
    for tensor, (value, *_) in pairs:
        value[...] = tensor.detach().numpy()


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), lambda n: nn.SGD(n, 0.05, momentum=0.9)),
        (lambda p: torch.optim.Adam(p, 0.003), lambda n: nn.Adam(n, 0.003)),
    ],
    ids=["SGD", "Adam"],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_100_steps_are_those_of_pytorch(name, optimizer, make):
    """From the weights of a litnets network, with the same batches and gradient clipping, in float64."""
    torch.manual_seed(0)
    reference = NETWORKS[name][0]().double()
    network = NETWORKS[name][1]()
    copy_weights(reference, network)
    steps, reference_steps = make(network), optimizer(reference.parameters())
    images, targets = digits.splits(np.random.default_rng(0))["train"]
    for batch in np.array_split(np.arange(1000), 100):
        reference_steps.zero_grad()
        cross_entropy(reference(torch.tensor(images[batch])), torch.tensor(targets[batch])).backward()
        torch_nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        reference_steps.step()
        network.backward(nn.cross_entropy(network.forward(images[batch], training=True), targets[batch])[1])
        grads = network.gradients()
        nn.clip(grads, 1.0)
        steps.step(grads)
    differences = [
        np.abs(tensor.detach().numpy() - value).max()
        for tensor, (value, *_) in zip(reference.parameters(), network.parameters(), strict=True)
    ]
    assert max(differences) < 1e-9
    logits = reference.eval()(torch.tensor(images[:50])).detach().numpy()  # with the running statistics
    assert np.abs(network.forward(images[:50]) - logits).max() < 1e-9


def test_dropout_with_a_given_mask_is_that_of_pytorch():
    layer, x = nn.Dropout(np.random.default_rng(3), 0.4), RNG.normal(size=(200, 50))
    out = layer.forward(x, training=True)
    mask = np.random.default_rng(3).random(x.shape) >= 0.4
    tensor = torch.tensor(x, requires_grad=True)
    expected = tensor * torch.tensor(mask) / 0.6
    expected.backward(torch.tensor(x))
    assert np.abs(out - expected.detach().numpy()).max() < 1e-12
    assert np.abs(layer.backward(x) - tensor.grad.numpy()).max() < 1e-12
    assert mask.mean() == pytest.approx(0.6, abs=0.02)
    assert (layer.forward(x, training=False) == x).all()


@pytest.mark.parametrize(("init", "std"), [("zeros", 0), ("normal", 0.01), ("xavier", (2 / 700) ** 0.5), ("he", 0.1)])
def test_the_spread_of_the_first_weights(init, std):
    assert nn.initial_weights(np.random.default_rng(0), (500, 200), init).std() == pytest.approx(std, rel=0.01)


def test_an_unknown_initialization_is_an_error():
    with pytest.raises(ValueError, match="expected zeros, normal, xavier or he, got 'hee'"):
        nn.initial_weights(RNG, (2, 2), "hee")


def test_early_stopping_keeps_the_best_weights(capsys):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)  # nothing to learn but noise
    network = nn.Network(nn.Linear(rng, 5, 50), nn.ReLU(), nn.Linear(rng, 50, 3))
    halves = (x[:20], targets[:20]), (x[20:], targets[20:])
    losses = nn.fit(network, nn.Adam(network, 0.05), rng, *halves, epochs=50, patience=3)
    assert len(losses) == losses.index(min(losses)) + 1 + 3
    assert nn.cross_entropy(network.forward(x[20:]), targets[20:])[0] == min(losses)
    assert capsys.readouterr().out.endswith("stopped early: no better val/loss for 3 epochs\n")


def test_xor(capsys):
    probability, _ = xor.train([[1, -0.5], [-0.5, 1]], [[1, 0.5]])
    assert ((probability > 0.5) == [False, True, True, False]).all()
    probability, weights = xor.train([[0, 0], [0, 0]], [[0, 0]])
    assert (probability == 0.5).all()
    assert not weights.any()
    _, weights = xor.train([[1, -0.5], [1, -0.5]], [[1, 1]])
    assert (weights[0] == weights[1]).all()
    assert "loss 0.7473" in capsys.readouterr().out


def test_gradients_vanish_through_sigmoids():
    sigmoid, relu, zeros = (
        digits.gradient_norms(activation, init)
        for activation, init in ((nn.Sigmoid, "xavier"), (nn.ReLU, "he"), (nn.ReLU, "zeros"))
    )
    assert sigmoid[0] < 1e-5 * sigmoid[-1]
    assert 0.1 < relu[0] / relu[-1] < 10
    assert zeros[0] == 0


@pytest.mark.parametrize(
    ("name", "expected"), [("mlp", 0.96), pytest.param("cnn", 0.92, marks=pytest.mark.slow), ("rnn", 0.94)]
)
def test_digits(name, expected, capsys):
    digits.main(name)
    assert float(capsys.readouterr().out.rsplit(maxsplit=1)[-1]) > expected
