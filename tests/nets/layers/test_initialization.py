import math

import pytest
import torch
from torch import nn

from litnets.nets import CNN, MLP, RNN, CNN1d, Transformer
from litnets.nets.layers.initialization import initialize

# The gains of torch.nn.init.calculate_gain; activations that it does not know use the gain of ReLU.
GAINS = {
    "relu": math.sqrt(2),
    "gelu": math.sqrt(2),
    "silu": math.sqrt(2),
    "elu": math.sqrt(2),
    "softplus": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "tanh": 5 / 3,
    "sigmoid": 1.0,
    "identity": 1.0,
}
# A layer, and the fan-in and fan-out of its weight.
LAYERS = [
    (lambda: nn.Linear(200, 300), 200, 300),
    (lambda: nn.Conv2d(8, 16, 5), 8 * 25, 16 * 25),
    (lambda: nn.RNN(60, 90), 60, 90),
    (lambda: nn.GRU(60, 90), 60, 90),
    (lambda: nn.LSTM(60, 90), 60, 90),
]
NETS = {
    "mlp": lambda init: MLP(12, 42, [10, 8], batch_norm=True, init=init),
    "cnn": lambda init: CNN(3, 42, (4, 8), residual=True, init=init),
    "cnn_group": lambda init: CNN(3, 42, (4, 8), norm="group", init=init),
    "rnn": lambda init: RNN(12, 42, 8, 2, bidirectional=True, pooling="attention", init=init),
    "cnn1d": lambda init: CNN1d(12, 42, (4, 8), residual=True, init=init),
    "transformer": lambda init: Transformer(12, 42, 8, pooling="first", init=init),
}
INPUTS = {"mlp": (5, 12), "cnn": (5, 3, 8, 8), "cnn_group": (5, 3, 8, 8), "rnn": (5, 6, 12)}
INPUTS |= {"cnn1d": (5, 6, 12), "transformer": (5, 6, 12)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def first_weight(layer):
    return next(p for p in layer.parameters() if p.ndim >= 2).detach()


@pytest.mark.parametrize(("make", "fan_in", "fan_out"), LAYERS)
def test_xavier_follows_fan_in_and_fan_out(make, fan_in, fan_out):
    layer = make()
    initialize(layer, "xavier")
    bound = math.sqrt(6 / (fan_in + fan_out))
    weight = first_weight(layer)
    assert 0.97 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize(("make", "fan_in", "fan_out"), LAYERS)
def test_he_follows_fan_in(make, fan_in, fan_out):
    layer = make()
    initialize(layer, "he", "relu")
    assert first_weight(layer).std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    assert first_weight(layer).abs().max().item() > 3 * math.sqrt(2 / fan_in)  # normal, not uniform


@pytest.mark.parametrize(("activation", "gain"), GAINS.items())
def test_he_gain_follows_the_activation(activation, gain):
    net = MLP(400, 42, [300], activation=activation, init="he")
    assert net.layers[1].weight.std().item() == pytest.approx(gain / math.sqrt(400), rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_he_keeps_the_scale_of_a_deep_network(activation):
    net = CNN(64, 8, (64,), 6, activation=activation, norm="none", init="he")
    first = net.stages[0][0](torch.randn(4, 64, 8, 8))
    last = net.stages[0][:6](torch.randn(4, 64, 8, 8))
    assert 0.3 < (last.std() / first.std()).item() < 3


@pytest.mark.parametrize(("module", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_each_gate_is_orthogonal(module, gates):
    layer = module(5, 8)
    initialize(layer, "orthogonal")
    assert len(layer.weight_hh_l0) == gates * 8
    for gate in range(gates):
        recurrent = layer.weight_hh_l0[8 * gate : 8 * gate + 8]
        torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(8), atol=1e-5, rtol=0)
        tall = layer.weight_ih_l0[8 * gate : 8 * gate + 8]
        torch.testing.assert_close(tall.T @ tall, torch.eye(5), atol=1e-5, rtol=0)


def test_a_convolution_is_orthogonal():
    layer = nn.Conv2d(3, 4, 3)
    initialize(layer, "orthogonal")
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)


def test_normal_has_a_standard_deviation_of_a_hundredth():
    layer = nn.Linear(200, 300)
    initialize(layer, "normal")
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert layer.weight.mean().item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", NETS)
def test_zeros_make_all_logits_zero(kind):
    logits = NETS[kind]("zeros").eval()(torch.randn(INPUTS[kind]))
    assert logits.shape == (5, 42)
    assert logits.count_nonzero() == 0


@pytest.mark.parametrize("init", ["xavier", "he", "orthogonal", "normal", "zeros"])
@pytest.mark.parametrize("kind", NETS)
def test_biases_start_at_zero_and_normalization_at_one(kind, init):
    net = NETS[kind](init)
    for name, parameter in net.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            assert parameter.count_nonzero() == 0, name
        elif parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            assert (parameter.count_nonzero() == 0) == (init == "zeros"), name


def test_the_default_initialization_is_that_of_torch():
    torch.manual_seed(0)
    net = MLP(5, 3, [4])
    torch.manual_seed(0)
    first, last = nn.Linear(5, 4), nn.Linear(4, 3)
    for actual, expected in zip(net.parameters(), [*first.parameters(), *last.parameters()], strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("kind", NETS)
def test_the_default_initialization_changes_nothing(kind):
    net = NETS[kind]("default")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    initialize(net, "default")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_unknown_initialization_is_refused():
    with pytest.raises(ValueError, match=r"init: expected .* got 'glorot'"):
        MLP(2, 2, init="glorot")


def test_he_follows_the_activation_of_each_layer():
    net = MLP(400, 300, [500, 400], activation=["sigmoid", "tanh"], init="he")
    for layer, gain in zip((net.layers[1], net.layers[3], net.layers[5]), (1.0, 5 / 3, 5 / 3), strict=True):
        assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(layer.in_features), rel=0.02)
