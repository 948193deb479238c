import pytest
import torch
from torch import nn

from litnets.nets import CNN, MLP, CNN1d, ResNet
from litnets.nets.layers.normalization import BatchNorm1d, BatchNorm2d


@pytest.mark.parametrize(
    ("cls", "torch_cls", "shape"),
    [
        (BatchNorm1d, nn.BatchNorm1d, (5, 3)),
        (BatchNorm1d, nn.BatchNorm1d, (1, 3, 4)),
        (BatchNorm2d, nn.BatchNorm2d, (2, 3, 1, 1)),
    ],
)
def test_matches_torch(cls, torch_cls, shape):
    x, norm, other = torch.randn(shape), cls(3), torch_cls(3)
    assert torch.equal(norm(x), other(x))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(("norm", "shape"), [(BatchNorm1d, (1, 3)), (BatchNorm2d, (1, 3, 1, 1))])
def test_a_single_value_per_channel_uses_the_running_statistics(norm, shape):
    norm = norm(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.fill_(4.0)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    actual = norm(torch.tensor([3.0, 2.0, 1.0]).view(shape))
    torch.testing.assert_close(actual.flatten(), torch.tensor([1.0, 0.0, -1.0]), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (MLP(6, 2, [4], batch_norm=True), (1, 6)),
        (CNN(1, 2, widths=(2, 3, 4, 5)), (1, 1, 8, 8)),
        (ResNet(1, 2, depth=18), (1, 1, 8, 8)),
        (CNN1d(3, 2, widths=(4,), norm="batch"), (1, 1, 3)),
    ],
)
def test_networks_train_on_a_batch_of_one_sample(net, shape):
    net.train()(torch.randn(shape)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
