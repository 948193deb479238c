import pytest
import torch

from examples import spiking


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.3, 0.5, 0.99, 1.0])
def test_a_rate_is_the_fraction_of_steps_with_a_spike(rate):
    spikes = spiking.rate_code(torch.full((3,), rate, dtype=torch.float64), steps=100)
    assert spikes.shape == (100, 3)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert spikes.sum(0).tolist() == pytest.approx([100 * rate] * 3, abs=1)


def test_the_gradient_of_a_spike_is_that_of_the_fast_sigmoid():
    x = torch.tensor([-1.0, -0.1, 0.0, 0.2], dtype=torch.float64, requires_grad=True)
    spikes = spiking.Spike.apply(x)
    spikes.sum().backward()
    assert spikes.tolist() == [0, 0, 0, 1]
    smooth = x.detach().requires_grad_()
    (smooth / (1 + 10 * smooth.abs())).sum().backward()  # x / (1 + 10 |x|) has the slope 1 / (1 + 10 |x|)^2
    assert torch.allclose(x.grad, smooth.grad)


def test_a_neuron_adds_up_leaks_and_spikes():
    """With a weight of 0.6 and a decay of 0.9, a neuron that gets a spike in each step has these potentials before the
    threshold of 1: 0.6, 1.14 (spike, 0.14 left), 0.726, 1.2534 (spike)."""
    net = spiking.SpikingMLP(1, 1, hidden_size=1, steps=4, decay=0.9)
    with torch.no_grad():
        net.hidden.weight.fill_(0.6)
        net.hidden.bias.zero_()
        net.head.weight.fill_(1)
        net.head.bias.zero_()
    out = net(torch.full((1, 1), 100.0))  # sigmoid(100) is 1: a spike in each step
    assert net.spikes_per_neuron == 2
    # The output gets spikes in steps 2 and 4: its potentials are 0, 1, 0.9 and 1.81.
    assert out.item() == pytest.approx((0 + 1 + 0.9 + 1.81) / 4)


def test_the_example_learns(capsys):
    assert spiking.main(["--epochs", "2", "--steps", "8"]) > 0.6
    assert "spikes per hidden neuron" in capsys.readouterr().out
