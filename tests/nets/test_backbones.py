from pathlib import Path

import pytest
import torch
from torch import nn

from litnets.__main__ import main
from litnets.errors import InputError
from litnets.nets import TimmNet, TorchvisionNet


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# Parameters with 3 channels and 1,000 classes, as published by torchvision.
PUBLISHED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
}


@pytest.mark.parametrize(("backbone", "published"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(backbone, published):
    with torch.device("meta"):  # without memory for the weights
        assert parameters(TorchvisionNet(3, 1000, backbone)) == published


# One of each family that is built differently: by its last layer, its auxiliary outputs, its size.
FAMILIES = ["alexnet", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet"]


@pytest.mark.parametrize(("backbone", "channels"), [*zip(FAMILIES, [1, 3, 5, 2], strict=True)])
def test_any_channels_sizes_and_classes(backbone, channels):
    with torch.device("meta"):
        net = TorchvisionNet(channels, 7, backbone)
        for size in ((8, 8), (32, 20), (70, 300)):
            assert net(torch.empty(2, channels, *size)).shape == (2, 7)


@pytest.mark.slow
def test_every_network_of_torchvision():
    from torchvision import models

    for backbone in models.list_models(module=models):
        if "regnet" in backbone:
            continue  # torchvision cannot build them without memory
        with torch.device("meta"):
            net = TorchvisionNet(1, 7, backbone)
            assert net(torch.empty(2, 1, 32, 24)).shape == (2, 7), backbone


def test_a_regnet_trains():
    net = TorchvisionNet(1, 3, "regnet_y_400mf")
    net(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("backbone", "size", "resized"),
    [
        ("resnet18", (32, 32), (64, 64)),
        ("resnet18", (16, 40), (64, 160)),
        ("resnet18", (65, 100), (65, 100)),
        ("inception_v3", (32, 32), (75, 75)),
        ("vit_b_32", (300, 260), (224, 224)),
        ("swin_t", (32, 32), (224, 224)),
    ],
)
def test_only_small_images_are_resized_unless_the_network_reads_one_size(backbone, size, resized):
    with torch.device("meta"):
        net = TorchvisionNet(3, 2, backbone)
        assert net.inputs(torch.empty(1, 3, *size)).shape[2:] == resized


def test_image_size_makes_squares():
    with torch.device("meta"):
        net = TorchvisionNet(3, 2, "resnet18", image_size=48)
        assert net.inputs(torch.empty(1, 3, 99, 30)).shape[2:] == (48, 48)
        vit = TorchvisionNet(3, 2, "vit_b_32", image_size=64)
        assert vit(torch.empty(1, 3, 20, 20)).shape == (1, 2)


def test_a_network_for_three_channels_is_torchvisions():
    from torchvision import models

    torch.manual_seed(0)
    net = TorchvisionNet(3, 5, "shufflenet_v2_x0_5").eval()
    torch.manual_seed(0)
    expected = models.shufflenet_v2_x0_5(num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(net(x), expected(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_enlarging_can_be_traced():
    """TensorBoard's graph is a trace."""
    with torch.device("meta"):
        resize = TorchvisionNet(1, 2, "alexnet").inputs
    x = torch.randn(1, 1, 9, 8)
    assert torch.equal(torch.jit.trace(resize, x)(x), resize(x))


@pytest.mark.parametrize(
    ("net", "arguments", "message"),
    [
        (TorchvisionNet, ("vgg_16",), "backbone: torchvision has no network 'vgg_16'; did you mean 'vgg16'?"),
        (TorchvisionNet, ("ResNet50",), "did you mean 'resnet50'"),
        (TorchvisionNet, ("fcn_resnet50",), "torchvision has no network 'fcn_resnet50'"),  # it segments
        (TorchvisionNet, ("alexnet", 32), "image_size: alexnet needs at least 63 pixels, got 32"),
        (TorchvisionNet, ("vit_b_32", 50), "image_size: vit_b_32 cannot read 50x50 pixels"),
        (TorchvisionNet, ("resnet18", 0), "image_size: resnet18 needs at least 1 pixels, got 0"),
        (TorchvisionNet, ("vit_b_32", 0), "image_size: expected at least 1 pixel, got 0"),
        (TimmNet, ("test_resnet", -3), "image_size: expected at least 1 pixel, got -3"),
        (TimmNet, ("resnet_18",), "backbone: timm has no network 'resnet_18'; did you mean 'resnet18'?"),
        (TimmNet, ("hf-hub:someone/net",), "timm has no network 'hf-hub:someone/net'"),
        (TimmNet, ("test_vit", 50), "image_size: test_vit cannot read 50x50 pixels"),
    ],
)
def test_a_network_that_cannot_be_had_is_named(net, arguments, message):
    with torch.device("meta"), pytest.raises(InputError) as caught:
        net(3, 2, *arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_timm(backbone, channels):
    net = TimmNet(channels, 7, backbone).eval()
    assert net(torch.randn(2, channels, 8, 12)).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ["LeNetClassifier"],
        *(["TorchvisionClassifier", "--model.backbone", name] for name in PUBLISHED),
        *(["TimmClassifier", "--model.backbone", name] for name in ("test_resnet", "mobilenetv4_conv_small")),
    ],
    ids=lambda model: model[-1],
)
def test_fit_test_predict_resume(model):
    options = ["--model", *model, "--data", "Digits", "--data.batch_size", "8", "--data.eval_batch_size", "8"]
    options += ["--model.optimizer", "SGD", "--model.lr", "0.001", "--trainer.limit_train_batches", "2"]
    options += ["--trainer.limit_val_batches", "2", "--trainer.limit_test_batches", "2"]
    assert main(["fit", *options, "--trainer.max_epochs", "1"]) == 0
    (run,) = Path("checkpoints").glob("*/*")
    config = str(run / "config.yaml")
    assert main(["test", "--config", config]) == 0
    assert main(["predict", "--config", config, "--trainer.limit_predict_batches", "2"]) == 0
    assert main(["resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 2
