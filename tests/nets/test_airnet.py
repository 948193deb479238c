import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, gelu

from litnets.nets import AirNet

SMALL = {"widths": (6, 8, 8)}


def correlated(n=40, channels=3, side=12):
    """Return images whose neighboring pixels and channels correlate, as in photographs."""
    noise = torch.randn(n, channels, side + 2, side + 2)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1) * 3
    return smooth + 0.7 * smooth.mean(1, keepdim=True)


def test_parameter_count_matches_the_paper():
    """airbench94 has 1.97 million parameters: https://arxiv.org/abs/2404.00498, section 3."""
    net = AirNet(3, 10)
    assert net.whitening.weight.shape == (24, 3, 2, 2)
    assert sum(p.numel() for p in net.parameters()) + net.whitening.weight.numel() == 1_971_640


@pytest.mark.parametrize("size", [(2, 2), (2, 9), (8, 8), (9, 13), (28, 28), (32, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_accepts_images_of_any_size(size, channels):
    net = AirNet(channels, 42, **SMALL)
    assert net(torch.rand(1, channels, *size)).shape == (1, 42)
    assert net.eval()(torch.rand(2, channels, *size)).shape == (2, 42)


def test_every_parameter_gets_a_gradient():
    net = AirNet(3, 42, **SMALL)
    cross_entropy(net(torch.randn(48, 3, 16, 16)), torch.arange(48) % 42).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert "whitening.weight" not in dict(net.named_parameters())


def test_samples_do_not_affect_each_other():
    net = AirNet(3, 42, **SMALL)
    net(torch.randn(8, 3, 16, 16) + 1)  # moves the running statistics
    net.eval()
    x = torch.randn(4, 3, 16, 16)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


def test_whitening_matches_numpy():
    images = correlated()
    net = AirNet(3, 10, **SMALL)
    net.whitening.fit(images)
    windows = np.lib.stride_tricks.sliding_window_view(images.double().numpy(), (2, 2), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    expected = (vectors / np.sqrt(values + 5e-4)).T[::-1]
    actual = net.whitening.weight.double().numpy().reshape(24, 12)
    np.testing.assert_allclose(actual[12:], -actual[:12])
    signs = np.sign((actual[:12] * expected).sum(1, keepdims=True))  # an eigenvector's sign is free
    np.testing.assert_allclose(actual[:12], signs * expected, rtol=1e-3, atol=1e-3)


def test_whitened_patches_are_uncorrelated():
    images = correlated(400)
    net = AirNet(3, 10, **SMALL)
    before = net.whitening(images).detach()[:, :12].transpose(0, 1).flatten(1)
    assert (before.cov() - torch.eye(12)).abs().max() > 0.5
    net.whitening.fit(images)
    after = net.whitening(images).detach()[:, :12].transpose(0, 1).flatten(1)
    moments = after @ after.T / after.shape[1]
    torch.testing.assert_close(moments, torch.eye(12), rtol=0, atol=0.02)


def test_whitening_is_saved_in_the_state_dict():
    net = AirNet(1, 4, **SMALL)
    assert not net.whitening.fitted
    net.whitening.fit(correlated(channels=1))
    loaded = AirNet(1, 4, **SMALL)
    loaded.load_state_dict(net.state_dict())
    assert loaded.whitening.fitted
    x = correlated(2, 1)
    assert torch.equal(loaded.eval()(x), net.eval()(x))


@pytest.mark.parametrize("images", [torch.zeros(3, 1, 4, 4), torch.ones(1, 1, 2, 2)])
def test_images_without_variance_give_finite_weights(images):
    net = AirNet(1, 4, **SMALL)
    net.whitening.fit(images)
    assert net.whitening.weight.isfinite().all()


def test_whitening_is_fitted_on_a_part_of_the_large_images(monkeypatch):
    seen = []
    unfold = torch.nn.functional.unfold
    monkeypatch.setattr("litnets.nets.airnet.unfold", lambda x, size: seen.append(len(x)) or unfold(x, size))
    AirNet(1, 4, **SMALL).whitening.fit(torch.randn(1, 1, 512, 512).expand(9, -1, -1, -1))
    assert seen == [4]


def test_convolutions_start_as_the_identity():
    net = AirNet(3, 10, widths=(30, 40))
    net.stages.double()
    x = torch.randn(2, 24, 7, 7).double()
    torch.testing.assert_close(net.stages[0][0](x)[:, :24], x)
    x = torch.randn(2, 30, 7, 7).double()
    torch.testing.assert_close(net.stages[0][4](x), x)
    rest = net.stages[0][0].weight[24:]
    assert rest.std() > 0.01, "output channels beyond the input channels start at random"


def test_a_stage_matches_its_layers_by_hand():
    """In training: convolution, pooling, normalization + bias, GELU, convolution, normalization + bias, GELU."""
    stage = AirNet(1, 2, widths=(9,)).stages[0]
    x = torch.randn(5, 8, 7, 7)

    def norm(y, shift):
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
        return (y - mean) / variance.sqrt() + 8 * shift.view(1, -1, 1, 1)

    for at in (2, 5):
        torch.nn.init.normal_(stage[at].shift)
    y = torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(x, stage[0].weight, padding=1), 2)
    y = gelu(norm(y, stage[2].shift))
    y = gelu(norm(torch.nn.functional.conv2d(y, stage[4].weight, padding=1), stage[5].shift))
    torch.testing.assert_close(stage(x), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(stage[2].running_mean.norm() > 0, torch.tensor(True))


def test_logits_are_scaled_down():
    net = AirNet(1, 42, **SMALL).eval()
    x = torch.randn(2, 1, 8, 8)
    features = net.stages(gelu(net.whitening(x))).amax((2, 3))
    torch.testing.assert_close(net(x), features @ net.head[-1].weight.T / 9)


def test_invalid_widths_are_refused():
    with pytest.raises(ValueError, match="widths: expected the channels of at least one stage"):
        AirNet(3, 10, widths=())
    with pytest.raises(ValueError, match="widths: expected at least 1 channel each"):
        AirNet(3, 10, widths=(4, 0, 4))
