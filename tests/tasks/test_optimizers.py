"""The optimizers and the schedule that torch does not have, compared with the papers that they are from."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from litnets.tasks.optimizers import SGDW, ConvMuon, WarmupCosineLR, orthogonalized


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdw_matches_loshchilov_and_hutter(nesterov):
    """Algorithm 1 of the paper, with the gradient computed before the weights are decayed."""
    net, x = nn.Linear(3, 2, bias=False).double(), torch.randn(4, 3).double()
    momentum = {"momentum": 0.9, "nesterov": nesterov}
    optimizer = SGDW(net.parameters(), lr=0.1, weight_decay=0.3, **momentum)
    weight, velocity = net.weight.detach().clone(), torch.zeros(2, 3).double()

    def loss():
        optimizer.zero_grad()
        value = net(x).square().sum()
        value.backward()
        return value.detach()

    for step in range(5):
        optimizer.param_groups[0]["lr"] = rate = 0.1 / (step + 1)  # as a schedule would
        before = (x @ weight.T).square().sum()
        gradient = 2 * (x @ weight.T).T @ x
        velocity = 0.9 * velocity + gradient
        update = gradient + 0.9 * velocity if nesterov else velocity
        weight = weight - rate * update - rate * 0.3 * weight
        torch.testing.assert_close(optimizer.step(loss), before)
        torch.testing.assert_close(net.weight.detach(), weight)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalized_keeps_singular_vectors_and_equalizes_singular_values(shape):
    """Compared with NumPy's singular value decomposition."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, singular_values, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    result = left.T @ orthogonalized(matrix).float().numpy() @ right.T  # diagonal if the singular vectors are the same
    large = singular_values / np.linalg.norm(singular_values) > 0.1  # three iterations do not reach smaller ones
    assert large.sum() >= 7
    assert ((result.diagonal()[large] > 0.5) & (result.diagonal()[large] < 1.5)).all()
    assert np.abs(result - np.diag(result.diagonal())).max() < 0.05  # bfloat16


def conv_muon(net):
    return ConvMuon(net.parameters(), lr=0.1, momentum=0.8, weight_decay=0.3, conv_lr=0.5, conv_momentum=0.6)


def test_conv_muon_updates_other_parameters_like_sgd():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    twin = copy.deepcopy(net)
    optimizer = conv_muon(net)
    reference = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.8, weight_decay=0.3, nesterov=True)
    for _ in range(3):
        for parameter, other in zip(net.parameters(), twin.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            other.grad = parameter.grad.clone()
        optimizer.step()
        reference.step()
    for (name, parameter), other in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(parameter, other, atol=1e-6) == (name != "0.weight"), name


def test_conv_muon_updates_filters_as_computed_by_hand():
    """w sqrt(n) / |w| - lr * orthogonalized(g + m v) with v = m v + g, over three steps, in channels-last format."""
    torch.manual_seed(0)
    net = nn.Conv2d(8, 4, 3, bias=False).to(memory_format=torch.channels_last)
    optimizer = conv_muon(net)
    weight, velocity = net.weight.detach().flatten(1), torch.zeros(4, 72)
    for _ in range(3):
        gradient = torch.randn(4, 8, 3, 3)
        net.weight.grad = gradient.to(memory_format=torch.channels_last)
        optimizer.step()
        velocity = 0.6 * velocity + gradient.flatten(1)
        weight = 2 * weight / weight.norm() - 0.5 * orthogonalized(gradient.flatten(1) + 0.6 * velocity)
        torch.testing.assert_close(net.weight.detach().flatten(1), weight, atol=5e-3, rtol=0)  # bfloat16


def test_conv_muon_continues_from_its_state_dict():
    torch.manual_seed(0)
    net = nn.Conv2d(2, 4, 3)
    optimizer = conv_muon(net)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    twin = copy.deepcopy(net)
    other = conv_muon(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameter, copied in zip(net.parameters(), twin.parameters(), strict=True):
        parameter.grad = torch.randn_like(parameter)
        copied.grad = parameter.grad.clone()
    optimizer.step()
    other.step()
    assert all(map(torch.equal, net.parameters(), twin.parameters()))


def test_conv_muon_reduces_a_loss():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))
    optimizer, x = conv_muon(net), torch.randn(32, 1, 4, 4)

    def loss():
        optimizer.zero_grad()
        value = (net(x) - x.mean((1, 2, 3)).unsqueeze(1)).square().mean()
        value.backward()
        return value.detach()

    values = [optimizer.step(loss).item() for _ in range(30)]
    assert values[-1] < 0.5 * values[0]


def test_warmup_cosine_rises_linearly_and_falls_to_zero():
    """Three of ten steps warm up to the learning rate, and the other seven follow half a cosine down to zero."""
    falling = [0.5 * 0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(8)]
    expected = [0.125, 0.25, 0.375, *falling, 0.0, 0.0]
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5)
    scheduler = WarmupCosineLR(optimizer, total_steps=10, warmup=0.3)
    rates = []
    for _ in range(13):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [1, 2, 4])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.6, 0.9])
def test_warmup_cosine_with_few_steps(total, warmup):
    """Even with few steps (fast_dev_run has one), every learning rate is above zero and the schedule ends at zero."""
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5)
    scheduler = WarmupCosineLR(optimizer, total, warmup)
    for _ in range(total):
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.5
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)
