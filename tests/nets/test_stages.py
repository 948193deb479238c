"""The stages of every kind of network, from the output to the input."""

import pytest
import torch
from torch import nn
from torchvision import models

from litnets.nets import (
    CNN,
    MLP,
    RNN,
    AirNet,
    CNN1d,
    Embedded,
    LeNet,
    ResNet,
    TorchvisionNet,
    TorchvisionUNet,
    Transformer,
    UNet,
)
from litnets.nets.layers.windowing import Window
from litnets.nets.stages import stages

NETWORKS = {
    "MLP": (lambda: MLP(4, 3, (8, 8), batch_norm=True), "head layers.4 layers.1"),
    "linear": (lambda: MLP(4, 3, ()), "head"),
    "CNN": (lambda: CNN(1, 3, (4, 4, 4)), "head stages.2 stages.1 stages.0"),
    "CNN1d": (lambda: CNN1d(4, 3, (4, 4)), "head stages.1 stages.0"),
    "RNN": (
        lambda: RNN(4, 3, 4, num_layers=2, bidirectional=True, pooling="attention", conv_widths=(3,), conv_channels=4),
        "head layers.1 layers.0",
    ),
    "Transformer": (lambda: Transformer(4, 3, 8, pooling="first"), "head layers.1 layers.0 project"),
    "Embedded": (lambda: Embedded(RNN(8, 3, 4), 10, 8), "head net.layers.0 embedding"),
    "Window": (lambda: Window(MLP(4, 3, (8,))), "head layers.1"),
    "ResNet": (lambda: ResNet(1, 3), "head stages.2 stages.1 stages.0 stem.0"),
    "AirNet": (lambda: AirNet(3, 3, (4, 4)), "head stages.1 stages.0"),
    "LeNet": (lambda: LeNet((1, 28, 28), 3), "head head.3 head.1 features.3 features.0"),
    "UNet": (lambda: UNet(1, 3, (2, 2, 2)), "head decoder.1 decoder.0 encoder.2 encoder.1 encoder.0"),
    "TorchvisionNet": (lambda: TorchvisionNet(1, 3), "head layer4 layer3 layer2 layer1 conv1"),
    "TorchvisionUNet": (
        lambda: TorchvisionUNet(1, 3),
        "head decoder.4 decoder.3 decoder.2 decoder.1 decoder.0 encoder.4 encoder.3 encoder.2 encoder.1 encoder.0",
    ),
    "one layer": (lambda: nn.Linear(3, 2), "head"),
    "normalized inputs": (
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)),
        "head 1",
    ),
}
# The names that users of these networks of torchvision expect, and the number of stages.
TORCHVISION = {
    "densenet121": ("features.denseblock4", 9),
    "efficientnet_b0": ("features.8", 10),
    "googlenet": ("inception5b", 13),
    "vgg16": ("classifier.3", 16),
    "vit_b_16": ("encoder.layers.encoder_layer_11", 14),
    "swin_t": ("features.7", 9),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_of_our_networks(name: str) -> None:
    build, names = NETWORKS[name]
    net = build()
    found = stages(net)
    assert [stage.name for stage in found] == names.split()
    parameters = [parameter for stage in found for parameter in stage.parameters]
    assert len(parameters) == len(list(net.parameters()))
    assert set(parameters) == set(net.parameters())
    with_state = {
        module for module in net.modules() if [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    }
    # A module with parameters between its parts, such as a class token, is itself in no stage.
    assert with_state - {module for stage in found for module in stage.modules} <= {net}


@pytest.mark.parametrize("name", TORCHVISION)
def test_stages_of_torchvision(name: str) -> None:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        net = models.get_model(name, weights=None, **options)
    found = stages(net)
    assert (found[1].name, len(found)) == TORCHVISION[name]
    last_layer = list(net.children())[-1]
    while list(last_layer.children()):
        last_layer = list(last_layer.children())[-1]
    assert found[0].parameters == list(last_layer.parameters())


def test_normalization_belongs_to_the_layer_before_it() -> None:
    net = MLP(4, 3, (8,), batch_norm=True)
    _, hidden = stages(net)
    assert hidden.parameters == [*net.layers[1].parameters(), *net.layers[2].parameters()]
    assert net.layers[2] in hidden.modules


def test_both_directions_of_a_layer_are_one_stage() -> None:
    net = RNN(4, 3, 4, num_layers=2, bidirectional=True)
    _, second, first = stages(net)
    assert set(first.parameters) == {*net.forwards[0].parameters(), *net.backwards[0].parameters()}
    assert set(second.parameters) == {*net.forwards[1].parameters(), *net.backwards[1].parameters()}


def test_a_stage_of_a_decoder_includes_the_upsampling_before_it() -> None:
    net = UNet(1, 3, (2, 2, 2))
    last = stages(net)[1]
    assert set(last.parameters) == {*net.upsample[1].parameters(), *net.decoder[1].parameters()}


def test_a_shared_parameter_belongs_to_the_last_stage_that_uses_it() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    head, middle, first = stages(net)
    assert head.parameters == [net[0].weight, net[2].bias]
    assert middle.parameters == [net[1].weight, net[1].bias]
    assert first.parameters == [net[0].bias]


def test_all_that_follows_a_part_named_head_is_the_head() -> None:
    """As in timm's distilled transformers, which have two heads side by side."""
    net = nn.ModuleDict({"layer1": nn.Linear(3, 3), "head": nn.Linear(3, 2), "head_dist": nn.Linear(3, 2)})
    assert [stage.name for stage in stages(net)] == ["head", "layer1"]


def test_a_network_without_parameters_has_an_empty_head() -> None:
    (head,) = stages(nn.Flatten())
    assert not head.parameters
