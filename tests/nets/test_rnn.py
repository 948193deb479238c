import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from litnets.nets import RNN

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
POOLINGS = ["last", "mean", "max", "attention"]
ALL = list(itertools.product(CELLS, [False, True], POOLINGS))
LENGTHS = torch.tensor([5, 1, 7, 3])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sequences():
    """Return four sequences of 1 to 7 steps of 3 numbers, padded with garbage."""
    x = torch.randn(4, 7, 3)
    x[torch.arange(7) >= LENGTHS[:, None]] = 1e3
    return x


def torch_module(net, cell, num_layers, bidirectional):
    """Return a recurrent module of torch with the weights of `net`."""
    module = CELLS[cell](3, 6, num_layers, batch_first=True, bidirectional=bidirectional)
    weights = {
        f"{name.removesuffix('_l0')}_l{i}{suffix}": value
        for layers, suffix in ((net.forwards, ""), (net.backwards, "_reverse"))
        for i, layer in enumerate(layers)
        for name, value in layer.state_dict().items()
    }
    module.load_state_dict(weights)
    return module


def pooled(pooling, steps, lengths, attention):
    """Pool `(N, T, width)` to `(N, width)`, one sequence at a time."""
    rows = []
    for row, length in zip(steps, lengths, strict=True):
        valid = row[:length]
        if pooling == "mean":
            rows.append(valid.mean(0))
        elif pooling == "max":
            rows.append(valid.max(0).values)
        else:
            rows.append((valid @ attention.weight[0]).softmax(0) @ valid)
    return torch.stack(rows)


@pytest.mark.parametrize(("cell", "bidirectional", "pooling"), ALL)
def test_padding_does_not_affect_the_output(cell, bidirectional, pooling):
    net = RNN(3, 42, 6, 2, cell, bidirectional, dropout=0.5, pooling=pooling).eval()
    x = sequences()
    alone = torch.cat([net(row[None, :length]) for row, length in zip(x, LENGTHS, strict=True)])
    assert alone.shape == (4, 42)
    torch.testing.assert_close(net(x, LENGTHS), alone)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_may_be_nan(pooling):
    net = RNN(3, 42, 6, bidirectional=True, pooling=pooling)
    x = sequences()
    expected = net(x, LENGTHS)
    x[torch.arange(x.shape[1]) >= LENGTHS[:, None]] = torch.nan
    torch.testing.assert_close(net(x, LENGTHS), expected)


WIDTHS = (1, 2, 4, 12)  # the last is wider than any sequence with a step of padding at both ends


def test_padding_does_not_affect_the_convolutions():
    net = RNN(3, 42, 6, bidirectional=True, conv_widths=WIDTHS, conv_channels=5).eval()
    x = sequences()
    x[1, 1:] = torch.nan
    alone = torch.cat([net(row[None, :length]) for row, length in zip(x, LENGTHS, strict=True)])
    torch.testing.assert_close(net(x.nan_to_num(1e3), LENGTHS), alone)


def test_convolutions_match_a_loop_over_all_positions():
    net = RNN(3, 42, 6, conv_widths=WIDTHS, conv_channels=5).eval()
    x = sequences()
    plain = RNN(3, 42, 6)
    plain.load_state_dict(net.state_dict() | {"head.weight": torch.eye(42, 6), "head.bias": torch.zeros(42)}, False)
    features = [plain(x, LENGTHS)[:, :6]]  # the pooled steps
    for conv, width in zip(net.convs, WIDTHS, strict=True):
        rows = []
        for row, length in zip(x, LENGTHS, strict=True):
            padded = torch.cat([torch.zeros(1, 3), row[:length], torch.zeros(1, 3)])
            padded = torch.cat([padded, torch.zeros(max(0, width - len(padded)), 3)])
            outputs = [
                torch.einsum("tf,cft->c", padded[start : start + width], conv.weight) + conv.bias
                for start in range(len(padded) - width + 1)
            ]
            rows.append(torch.stack(outputs).amax(0).clamp(min=0))
        features.append(torch.stack(rows))
    torch.testing.assert_close(net(x, LENGTHS), net.head(torch.cat(features, 1)))


def test_every_convolution_gets_a_gradient():
    net = RNN(3, 42, 6, conv_widths=WIDTHS, conv_channels=5)
    nn.functional.cross_entropy(net(sequences(), LENGTHS), torch.tensor([0, 7, 41, 20])).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(("cell", "bidirectional", "pooling"), ALL)
def test_matches_torch_on_packed_sequences(cell, bidirectional, pooling, num_layers):
    net = RNN(3, 42, 6, num_layers, cell, bidirectional, pooling=pooling).eval()
    x = sequences()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    out, hidden = torch_module(net, cell, num_layers, bidirectional)(packed)
    last = hidden[0] if cell == "lstm" else hidden  # (layers * directions, N, H)
    if pooling == "last":
        features = torch.cat([last[-2], last[-1]], 1) if bidirectional else last[-1]
    else:
        features = pooled(pooling, pad_packed_sequence(out, batch_first=True)[0], LENGTHS, net.attention)
    torch.testing.assert_close(net(x, LENGTHS), net.head(features))


@pytest.mark.parametrize(("cell", "bidirectional", "pooling"), ALL)
def test_every_parameter_gets_a_gradient(cell, bidirectional, pooling):
    net = RNN(3, 42, 6, 2, cell, bidirectional, pooling=pooling)
    nn.functional.cross_entropy(net(sequences(), LENGTHS), torch.tensor([0, 7, 41, 20])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_padding_gets_no_gradient():
    x = torch.randn(4, 7, 3, requires_grad=True)
    RNN(3, 42, 6, bidirectional=True, pooling="attention")(x, LENGTHS).square().sum().backward()
    padding = torch.arange(7) >= LENGTHS[:, None]
    assert x.grad[padding].count_nonzero() == 0
    assert (x.grad[~padding].abs().sum(1) > 0).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_lengths_all_steps_are_valid(pooling):
    net = RNN(3, 42, 6, bidirectional=True, pooling=pooling)
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(net(x), net(x, torch.full((4,), 7)))


def test_an_image_is_read_as_a_sequence_of_rows():
    """A row holds the pixels of all its channels."""
    images = torch.randn(2, 3, 5, 4)
    rows = torch.zeros(2, 5, 12)
    for n, c, h, w in itertools.product(range(2), range(3), range(5), range(4)):
        rows[n, h, 4 * c + w] = images[n, c, h, w]
    net = RNN(12, 42, 6, bidirectional=True)
    torch.testing.assert_close(net(images), net(rows))


def test_a_step_may_hold_several_rows_of_an_image():
    images = torch.randn(2, 3, 6, 4)
    rows = images.transpose(1, 2).flatten(2)  # (2, 6, 12)
    steps = torch.stack([torch.cat([rows[:, 2 * t], rows[:, 2 * t + 1]], 1) for t in range(3)], 1)
    net = RNN(24, 42, 6, bidirectional=True, rows_per_step=2)
    torch.testing.assert_close(net(images), net(steps))


def test_the_order_of_the_steps_matters():
    net = RNN(3, 42, 6, pooling="mean")
    x = torch.randn(2, 7, 3)
    assert not torch.allclose(net(x), net(x.flip(1)))


def test_logits_have_no_activation():
    net = RNN(3, 42, 6)
    x = torch.randn(2, 7, 3)
    before = net(x)
    *_, bias = net.parameters()
    with torch.no_grad():
        bias -= 100
    torch.testing.assert_close(net(x), before - 100)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropout_is_active_only_in_training(num_layers):
    net = RNN(3, 42, 6, num_layers, dropout=0.5)
    x = torch.randn(2, 7, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_applies_between_layers_and_not_to_the_input():
    net = RNN(3, 2, 500, 2, cell="gru", dropout=0.25)
    seen = []
    for layer in net.forwards:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(torch.ones(1, 50, 3))
    assert (seen[0] == 0).sum() == 0
    assert (seen[1] == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)


def test_a_kernel_without_steps_is_refused():
    with pytest.raises(ValueError, match=r"conv_widths: expected at least 1 step each, got \[2, 0\]"):
        RNN(3, 42, 6, conv_widths=(2, 0))


def test_missing_layers_are_refused():
    with pytest.raises(ValueError, match="num_layers: expected at least 1, got 0"):
        RNN(3, 2, num_layers=0)
