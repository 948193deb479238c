from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision import models

from litnets.errors import InputError
from litnets.nets import TorchvisionUNet
from litnets.safety.checkpoint_file import weights_follow

DATA = {"channel_mean": [0.2, 0.3, 0.4], "channel_std": [0.1, 0.2, 0.3]}
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # of the weights of torchvision


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def file():
    """A file with random weights of a resnet18, whose running statistics are those of a trained network."""
    net = models.resnet18(num_classes=7)
    net(torch.randn(4, 3, 64, 64))
    torch.save(net.state_dict(), "resnet18.pth")
    return net.eval()


def column(values):
    return torch.tensor(values).view(-1, 1, 1)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 48)), (1, (33, 47)), (5, (1, 1))])
def test_returns_logits_for_each_pixel_of_an_image_of_any_size(channels, size):
    net = TorchvisionUNet(channels, 42, "resnet18", width=2)
    images = torch.rand(1, channels, *size)
    assert net(images).shape == (1, 42, *size)
    assert net.eval()(images).shape == (1, 42, *size)


def check_gradients(net):
    cross_entropy(net(torch.randn(2, 3, 33, 40)), torch.arange(2640).view(2, 33, 40) % 7).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("backbone", ["resnet18", "shufflenet_v2_x0_5"])
def test_every_parameter_gets_a_gradient(backbone):
    check_gradients(TorchvisionUNet(3, 7, backbone, width=2))


FAMILIES = ["convnext_tiny", "densenet121", "efficientnet_b0", "mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [*FAMILIES, "vgg11", "vgg11_bn", "mobilenet_v2", "resnext50_32x4d"])
def test_every_family(backbone):
    net = TorchvisionUNet(3, 7, backbone, width=2)
    check_gradients(net)
    scales, x = [], torch.zeros(1, 3, 2 * net.stride, 3 * net.stride)
    for layers in net.layers:
        for name in layers:
            x = net.backbone.get_submodule(name)(x)
        scales.append(x.shape[-2:])
    assert scales[0] == (2 * net.stride, 3 * net.stride)
    assert scales[-1] == (2, 3)


def test_the_encoder_has_the_features_of_the_network_of_torchvision(file):
    net = TorchvisionUNet(3, 2, weights="resnet18.pth", **DATA).eval()
    seen = []
    net.dropout.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    pixels = torch.rand(2, 3, 64, 32)
    net((pixels - column(DATA["channel_mean"])) / column(DATA["channel_std"]))
    logits = file.fc(seen[0].mean((2, 3)))
    torch.testing.assert_close(logits, file((pixels - column(MEAN)) / column(STD)), rtol=1e-3, atol=1e-4)


def test_weights_from_a_file_are_those_of_the_encoder(file):
    net = TorchvisionUNet(3, 2, weights="resnet18.pth", **DATA)
    assert net.loaded == "weights from resnet18.pth"
    expected = {name: value for name, value in file.state_dict().items() if not name.startswith("fc.")}
    actual = net.backbone.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_file_needs_no_classifier_and_images_need_no_colors(file):
    torch.save({name: value for name, value in file.state_dict().items() if "fc" not in name}, "encoder.pth")
    net = TorchvisionUNet(1, 2, weights="encoder.pth", channel_mean=[0.5], channel_std=[0.5])
    torch.testing.assert_close(net.backbone.conv1.weight, file.conv1.weight.sum(1, keepdim=True))


def test_the_normalization_of_the_data_is_replaced_without_resizing(file):
    net = TorchvisionUNet(3, 2, weights="resnet18.pth", **DATA).eval()
    raw = TorchvisionUNet(3, 2).eval()
    raw.load_state_dict({name: value for name, value in net.state_dict().items() if not name.startswith("inputs.")})
    pixels = torch.rand(2, 3, 33, 47)
    logits = net((pixels - column(DATA["channel_mean"])) / column(DATA["channel_std"]))
    torch.testing.assert_close(logits, raw((pixels - column(MEAN)) / column(STD)), rtol=1e-3, atol=1e-4)


def test_the_state_dict_has_the_weights_and_the_normalization(file):
    net = TorchvisionUNet(3, 2, weights="resnet18.pth", **DATA).eval()
    Path("resnet18.pth").unlink()
    with weights_follow():
        restored = TorchvisionUNet(3, 2, weights="resnet18.pth", **DATA).eval()
    restored.load_state_dict(net.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(restored(images), net(images))


def test_dropout_drops_channels_of_the_smallest_features():
    net = TorchvisionUNet(3, 2, dropout=0.5, width=1)
    seen = []
    net.upsample[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    net(torch.randn(4, 3, 64, 64))
    dropped = (seen[0] == 0).all(-1).all(-1).float().mean().item()
    assert dropped == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet_18"}, "backbone: torchvision has no network 'resnet_18'; did you mean 'resnet18'?"),
        *(
            ({"backbone": name}, f"backbone: {name} cannot be the encoder")
            for name in ("vit_b_16", "swin_t", "alexnet")
        ),
        ({"width": 0}, "width: expected at least 1 channel, got 0"),
        ({"weights": "resnet18.pth"}, "pass channel_mean and channel_std of the DataModule to the model"),
        ({"weights": "gone.pth", **DATA}, "weights: gone.pth does not exist"),
    ],
)
def test_what_cannot_be_built_is_explained(arguments, message):
    with pytest.raises(InputError) as caught:
        TorchvisionUNet(3, 2, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
