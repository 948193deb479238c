import pytest
import torch
from torch import nn

from litnets.analysis.explain.layers import cam_layer, first_layer, last_linear
from litnets.nets import CNN, MLP, RNN, CNN1d, LeNet, ResNet, UNet

IMAGE = (torch.randn(1, 3, 16, 16),)


def name_of(net: nn.Module, layer: nn.Module | None) -> str | None:
    return next((name for name, module in net.named_modules() if module is layer), None)


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        (CNN(3, 2, widths=(4, 8)), "stages.1.1"),
        (CNN(3, 2, widths=(4, 8), residual=True, pool="stride"), "stages"),
        (ResNet(3, 2), "stages"),
        (LeNet((3, 16, 16), 2), "features.4"),
        (UNet(3, 4, widths=(4, 8)), "decoder.0.1.activation"),  # not the network, whose outputs have the same shape
        (UNet(3, 2, widths=(4, 8)), "decoder.0"),
    ],
)
def test_grad_cam_takes_the_last_block_before_pooling(net: nn.Module, layer: str) -> None:
    call = cam_layer(net.eval(), IMAGE)
    assert call is not None
    assert name_of(net, call.module) == layer


def test_a_network_without_convolutions_has_no_layer_for_grad_cam() -> None:
    assert cam_layer(MLP(768, 2), IMAGE) is None
    assert cam_layer(nn.Conv2d(3, 2, 1), IMAGE) is None


def test_the_first_layer_reads_the_inputs() -> None:
    steps = (torch.randn(1, 7, 5),)
    for net, inputs, name in (
        (CNN(3, 2, widths=(4,)), IMAGE, "stages.0.0.conv"),
        (MLP(768, 2), IMAGE, "layers.1"),
        (CNN1d(5, 2, widths=(4,)), steps, "stages.0.0.conv"),
        (RNN(5, 2), steps, None),
    ):
        assert name_of(net, first_layer(net.eval(), inputs)) == name, type(net).__name__


def test_hidden_units_are_what_the_last_linear_layer_reads() -> None:
    row = (torch.randn(1, 5),)
    assert last_linear(MLP(5, 2), row) == "layers.5"
    assert last_linear(MLP(5, 2, linear_skip=True), row) == "layers.5"  # the skip reads the inputs
    assert last_linear(MLP(5, 2, ()), row) is None
    assert last_linear(CNN(3, 2, widths=(4,)).eval(), IMAGE) == "head.3"
    assert last_linear(UNet(3, 2, widths=(4,)).eval(), IMAGE) is None
