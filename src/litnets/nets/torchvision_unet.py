"""A U-Net whose encoder is a network of torchvision, with pretrained weights if wanted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from litnets.errors import InputError
from litnets.nets.backbones import (
    BackboneNet,
    PretrainedNormalization,
    check_name,
    replace_first_convolution,
    torchvision_weights,
)
from litnets.nets.unet import conv_stage, decode, pad_to_multiple

# Beginnings of the names of networks that do not divide the sides of an image exactly, or whose features are no images.
_UNSUITABLE = ("alexnet", "googlenet", "inception_", "maxvit_", "squeezenet", "swin_", "vit_")


class TorchvisionUNet(BackboneNet):
    """U-Net with a convolutional network of `torchvision.models` as its encoder, for images of any size.

    The encoder is split wherever it makes the image smaller. At each of these sizes, the decoder reads its features
    through a skip connection, as in `UNet`. If the encoder has no features at full resolution, the decoder reads the
    image itself there. Images are padded to a multiple of the total stride by repeating their border, and the logits
    are cropped back.

    With pretrained weights, images are normalized as in the training of the weights, but not resized.
    `load_pretrained` describes how the first convolution is adapted to images that are not RGB.

    Takes `(N, channels, height, width)` and returns `(N, out_features, height, width)`.

        net = TorchvisionUNet(3, 4, "resnet18")
        net(torch.randn(8, 3, 33, 47))  # (8, 4, 33, 47)

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs for each pixel (classes).
        backbone: Name of the encoder, such as `resnet18` or `efficientnet_b0` (`torchvision.models.list_models()`).
        width: Channels of the decoder at full resolution; twice as many each time the image is halved.
        dropout: Dropout probability of the channels of the deepest features, in [0, 1).
        weights: Pretrained weights of the encoder: `auto`, `none` or a file.
        channel_mean: Mean of each channel by which the data are normalized, where black is 0 and white is 1. Needed for
            pretrained weights.
        channel_std: Standard deviation of each channel by which the data are normalized.

    Raises:
        InputError: There is no such network, it cannot be the encoder of a U-Net, the weights cannot be loaded, or
            `width` is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        backbone: str = "resnet18",
        width: int = 16,
        dropout: float = 0.0,
        weights: str = "none",
        channel_mean: Sequence[float] | None = None,
        channel_std: Sequence[float] | None = None,
    ) -> None:
        from torchvision import models

        check_name("torchvision", backbone, models.list_models(module=models))
        if backbone.startswith(_UNSUITABLE):
            raise InputError(
                f"backbone: {backbone} cannot be the encoder of a U-Net, which needs features whose sides are exact "
                "fractions of those of the image; choose another network, such as resnet18 or efficientnet_b0"
            )
        if width < 1:
            raise InputError(f"width: expected at least 1 channel, got {width}")
        net: nn.Module = models.get_model(backbone, weights=None)
        if in_channels != 3:
            replace_first_convolution(net, in_channels)
        inputs: nn.Module = nn.Identity()
        pretrained = None
        if weights != "none":
            pretrained = torchvision_weights(backbone, models.get_model_weights(backbone)["DEFAULT"], net)
            inputs = PretrainedNormalization(pretrained, in_channels, channel_mean, channel_std)
        classifier = [name for name, _ in net.named_children() if name in ("avgpool", "classifier", "fc")]
        for name in classifier:
            delattr(net, name)
        if pretrained is not None:
            pretrained = replace(pretrained, head=(), unused=tuple(f"{name}." for name in classifier))
        super().__init__(net, inputs, weights, pretrained)

        scales = _split(net, in_channels)
        self.layers = [scale.layers for scale in scales]
        self.stride = scales[-1].stride
        self.dropout = nn.Dropout2d(dropout)
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        fan_in = scales[-1].channels
        for deeper, scale in zip(reversed(scales), reversed(scales[:-1]), strict=False):
            factor, decoder_width = deeper.stride // scale.stride, width * scale.stride
            self.upsample.append(nn.ConvTranspose2d(fan_in, decoder_width, factor, factor))
            self.decoder.append(conv_stage(scale.channels + decoder_width, decoder_width))
            fan_in = decoder_width
        self.head = nn.Conv2d(width, out_features, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, channels, height, width)` to `(N, out_features, height, width)`."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(self.inputs(x), self.stride)
        if self.training and x.shape[0] == 1 and x.shape[-2:] == (self.stride, self.stride):
            x = pad(x, (0, self.stride, 0, 0), "replicate")  # batch normalization needs more than one value per channel
        x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for layers in self.layers:
            for name in layers:
                x = self.backbone.get_submodule(name)(x)
            features.append(x)
        features[-1] = self.dropout(features[-1])
        out: Tensor = self.head(decode(features, self.upsample, self.decoder))[..., :height, :width]
        return out

    def parts_in_order(self) -> dict[str, list[nn.Module]]:
        """Return the parts from the input to the output, see `litnets.nets.stages.PartsInOrder`."""
        encoder = [[self.backbone.get_submodule(name) for name in layers] for layers in self.layers if layers]
        parts = {f"encoder.{i}": modules for i, modules in enumerate(encoder)}
        for i, (upsample, stage) in enumerate(zip(self.upsample, self.decoder, strict=True)):
            parts[f"decoder.{i}"] = [upsample, stage]
        return {**parts, "head": [self.head]}


class _Scale(NamedTuple):
    """The features of the encoder at one size."""

    stride: int  # side of the image, divided by that of the features
    channels: int
    layers: list[str]  # names of the layers that compute them from those of the scale before


def _split(net: nn.Module, in_channels: int) -> list[_Scale]:
    """Split an encoder wherever it makes the image smaller, found by running it on a black image."""
    side = 64
    x = torch.zeros(1, in_channels, side, side)
    scales = [_Scale(1, in_channels, [])]
    net.eval()  # without an update of the running statistics
    with torch.no_grad():
        for name in _layers(net):
            x = net.get_submodule(name)(x)
            stride = side // x.shape[-1]
            if stride > scales[-1].stride:
                scales.append(_Scale(stride, 0, []))
            scales[-1] = _Scale(stride, x.shape[1], [*scales[-1].layers, name])
    net.train()
    if not any([*net.get_submodule(name).parameters()] for name in scales[-1].layers):
        scales.pop()  # the last pooling of a VGG
    return scales


def _layers(net: nn.Module) -> list[str]:
    """Return the names of the layers in order; a child without a number, such as `features`, contains several."""
    names = []
    for name, child in net.named_children():
        is_container = isinstance(child, nn.Sequential) and not any(character.isdigit() for character in name)
        names += [f"{name}.{part}" for part, _ in child.named_children()] if is_container else [name]
    return names
