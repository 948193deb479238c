import numpy as np
import pytest
import torch
from torch import nn

from litnets.nets import MLP, RNN
from litnets.nets.layers.windowing import Window


class Repeat(nn.Module):
    """A network that returns the last `horizon` steps of its input, flattened."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(self, x):
        self.seen = x
        return x[:, -self.horizon :].flatten(1)


def series(samples=4, steps=12, channels=3):
    return torch.randn(samples, steps, channels, generator=torch.Generator().manual_seed(0)) * 5 + 20


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("norm", ["none", "last", "standard"])
def test_the_forecast_is_denormalized(norm, share):
    x = series()
    torch.testing.assert_close(Window(Repeat(5), norm, share)(x), x[:, -5:])


@pytest.mark.parametrize("norm", ["none", "last", "standard"])
def test_normalized_windows_match_numpy(norm):
    x = series()
    window = Window(Repeat(5), norm, share_channels=False)
    window(x)
    array = x.numpy().astype(float)
    expected = {
        "none": array,
        "last": array - array[:, -1:],
        "standard": (array - array.mean(1, keepdims=True)) / array.std(1, keepdims=True),
    }[norm]
    np.testing.assert_allclose(window.net.seen, expected, atol=1e-4)


def test_shared_channels_are_separate_samples():
    x = series()
    window = Window(Repeat(5), "none", share_channels=True)
    window(x)
    np.testing.assert_array_equal(window.net.seen, x.permute(0, 2, 1).reshape(12, 12, 1))


def test_shared_channels_do_not_see_each_other():
    window = Window(MLP(12, 5), "standard").eval()
    x = series()
    changed = x.clone()
    changed[:, :, 1] += torch.randn(12)
    same = window(x) == window(changed)
    assert same[..., [0, 2]].all()
    assert not same[..., 1].any()


@pytest.mark.parametrize("share", [True, False])
def test_patches_are_consecutive_steps(share):
    x = series()
    window = Window(Repeat(1), "none", share, patch_length=4)
    window(x)
    features = 1 if share else 3
    assert window.net.seen.shape == (12 if share else 4, 3, 4 * features)
    expected = x[0, 4:8, :1] if share else x[0, 4:8]
    assert torch.equal(window.net.seen[0, 1], expected.flatten())


def test_a_constant_window_is_forecast_as_constant():
    """Except for the network's bias, which is multiplied by the smallest standard deviation, sqrt(1e-5)."""
    out = Window(MLP(12, 5), "standard")(torch.full((2, 12, 3), 7.0))
    assert (out - 7).abs().max() < 0.01
    assert out.isfinite().all()


@pytest.mark.parametrize("share", [True, False])
def test_every_parameter_gets_a_gradient_and_the_output_has_the_expected_shape(share):
    features = 1 if share else 3
    net = RNN(4 * features, 42 * features, hidden_size=6)
    out = Window(net, "standard", share, patch_length=4)(series())
    assert out.shape == (4, 42, 3)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_nlinear_matches_numpy():
    """Zeng et al. 2023: subtract the last value, one linear map over time for all channels, add it again."""
    linear = MLP(12, 5, hidden_layer_sizes=())
    x = series()
    weight, bias = (p.detach().numpy().astype(float) for p in linear.parameters())
    array = x.numpy().astype(float)
    last = array[:, -1:]
    expected = np.einsum("hl,nlc->nhc", weight, array - last) + bias[None, :, None] + last
    np.testing.assert_allclose(Window(linear, "last")(x).detach(), expected, atol=1e-4)
