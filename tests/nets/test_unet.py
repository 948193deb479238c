import pytest
import torch
from torch.nn.functional import cross_entropy

from litnets.nets import UNet

SMALL = {"widths": (4, 6, 8), "blocks_per_stage": 2}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 47), (2, 31)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_returns_logits_for_each_pixel_of_an_image_of_any_size(size, channels):
    net = UNet(channels, 42, **SMALL)
    images = torch.rand(2, channels, *size)
    assert net(images).shape == (2, 42, *size)
    assert net.eval()(images).shape == (2, 42, *size)


def test_has_as_many_parameters_as_the_network_of_the_paper():
    """31.03 million with the widths and one gray channel of figure 1, counted by hand."""
    widths = (64, 128, 256, 512, 1024)
    convolutions = sum(9 * (a * b + b * b) + 2 * b for a, b in zip((1, *widths), widths, strict=False))
    decoder = sum(9 * (2 * a * a + a * a) + 2 * a + 4 * a * 2 * a + a for a in widths[:-1])
    with torch.device("meta"):
        net = UNet(1, 2, widths=widths, norm="none")
    assert sum(p.numel() for p in net.parameters()) == convolutions + decoder + 2 * 64 + 2 == 31_030_658


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_parameter_gets_a_gradient(norm, residual):
    net = UNet(3, 7, norm=norm, residual=residual, **SMALL)
    cross_entropy(net(torch.randn(2, 3, 12, 12)), torch.arange(288).view(2, 12, 12) % 7).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_samples_do_not_affect_each_other():
    net = UNet(3, 5, dropout=0.5, **SMALL)
    net(torch.randn(8, 3, 8, 8) + 1)  # moves the running statistics
    net.eval()
    x = torch.randn(4, 3, 9, 10)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


def test_padding_repeats_the_border_and_is_cropped():
    net = UNet(3, 5, **SMALL).eval()
    x = torch.randn(2, 3, 6, 8)
    padded = torch.cat([x, x[:, :, -1:].expand(-1, -1, 2, -1)], 2)
    torch.testing.assert_close(net(x), net(padded)[:, :, :6])


def test_a_shift_by_the_stride_shifts_the_logits():
    """Each logit belongs to the pixel at its place."""
    net = UNet(1, 3, kernel_size=1, **SMALL).eval()
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(net(x)[:, :, 4:, 8:], net(x[:, :, 4:, 8:]))


@pytest.mark.parametrize("pixel", [(0, 0), (5, 6), (11, 11)])
def test_deep_features_reach_every_pixel(pixel):
    """Only the deepest stage sees the opposite corner."""
    net = UNet(1, 2, widths=(4, 4, 4), norm="none").eval()
    x = torch.randn(1, 1, 12, 12, requires_grad=True)
    net(x)[0, :, pixel[0], pixel[1]].sum().backward()
    assert x.grad.count_nonzero() == x.numel()


def test_dropout_drops_channels_of_the_smallest_features():
    net = UNet(1, 2, dropout=0.5, **SMALL)
    seen = []
    net.upsample[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    net(torch.randn(64, 1, 8, 8))
    dropped = (seen[0] == 0).all(-1).all(-1).float().mean().item()
    assert dropped == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: expected an odd number, got 4"),
        ({"widths": ()}, "widths: expected at least one stage"),
        ({"widths": (8, 0)}, r"widths: expected at least one stage of at least 1 channel, got \[8, 0\]"),
        ({"blocks_per_stage": 0}, "blocks_per_stage: expected at least 1, got 0"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNet(3, 10, **arguments)
