"""Networks for images from torchvision and timm, by their own names."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from litnets.errors import InputError, did_you_mean

_MIN_SIDE = 64  # most of these networks shrink an image by 32, and need more than one pixel at their end


class TorchvisionNet(nn.Module):
    """Any network of `torchvision.models` for classification, for images of any size and number of channels.

    Every network is adapted in the same way:

    - The last layer has `out_features` outputs.
    - The first convolution has `in_channels` input channels.
    - Images are resized, bilinearly. By default they are enlarged if their shorter side has fewer than 64 pixels, or
      fewer than the network needs (75 for `inception_v3`, 224 for Swin Transformers); Vision Transformers and MaxViT
      read only 224x224 pixels.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = TorchvisionNet(3, 10, "resnet18")  # 11.2 million parameters

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        backbone: Name of the network, such as `vgg16` (`torchvision.models.list_models()`).
        image_size: Side of the squares that images are resized to; None resizes only small images.

    Raises:
        InputError: There is no such network, or it cannot read images of this size.
    """

    def __init__(
        self, in_channels: int, out_features: int, backbone: str = "resnet18", image_size: int | None = None
    ) -> None:
        from torchvision import models

        super().__init__()
        _check_name("torchvision", backbone, models.list_models(module=models))
        minimum = models.get_model_weights(backbone)["DEFAULT"].meta["min_size"][0]
        options: dict[str, Any] = {}
        if backbone in ("googlenet", "inception_v3"):
            options = {"aux_logits": False, "init_weights": True}
        elif backbone.startswith("vit_"):
            image_size = options["image_size"] = 224 if image_size is None else image_size
        elif backbone.startswith("maxvit_"):
            image_size = 224 if image_size is None else image_size
            options["input_size"] = (image_size, image_size)
        elif image_size is not None and image_size < minimum:
            raise InputError(f"image_size: {backbone} needs at least {minimum} pixels, got {image_size}")
        self.resize = _Resize(max(minimum, _MIN_SIDE), image_size)
        try:
            self.backbone: nn.Module = models.get_model(backbone, weights=None, num_classes=out_features, **options)
        except (AssertionError, ValueError) as error:  # the size is not a multiple of a Transformer's patches
            raise InputError(f"image_size: {backbone} cannot read {image_size}x{image_size} pixels: {error}") from error
        if in_channels != 3:
            _replace_first_convolution(self.backbone, in_channels)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, height, width)` -> `(N, out_features)`."""
        out: Tensor = self.backbone(self.resize(x).contiguous(memory_format=torch.channels_last))
        return out


class TimmNet(nn.Module):
    """Any network of timm (PyTorch Image Models), for images of any size and number of channels.

    timm itself adapts the first and the last layer. Images are resized as in `TorchvisionNet`: enlarged if their
    shorter side has fewer than 64 pixels, or resized to the only size that the network reads.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = TimmNet(3, 10, "mobilenetv4_conv_small")  # 2.5 million parameters

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        backbone: Name of the network (`timm.list_models()`).
        image_size: Side of the squares that images are resized to; None resizes only small images.

    Raises:
        InputError: There is no such network, it cannot read images of this size, or timm is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        backbone: str = "mobilenetv4_conv_small",
        image_size: int | None = None,
    ) -> None:
        try:
            import timm
        except ImportError as error:
            raise InputError('timm is not installed: pip install "litnets[timm]"') from error
        super().__init__()
        # A name that is not in this list may be an address (`hf-hub:...`) that timm would download from.
        _check_name("timm", backbone, timm.list_models())
        config = timm.get_pretrained_cfg(backbone)
        options: dict[str, Any] = {}
        if config is not None and config.fixed_input_size:
            fixed_size = config.input_size[-1]
            image_size = fixed_size if image_size is None else image_size
            if image_size != fixed_size:
                options["img_size"] = image_size
        self.resize = _Resize(_MIN_SIDE, image_size)
        try:
            self.backbone: nn.Module = timm.create_model(
                backbone, num_classes=out_features, in_chans=in_channels, **options
            )
            if options:  # many networks find out only in `forward` that they cannot read another size
                with torch.no_grad():
                    self.backbone.eval()(torch.zeros(1, in_channels, options["img_size"], options["img_size"]))
                self.backbone.train()
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:
            raise InputError(f"image_size: {backbone} cannot read {image_size}x{image_size} pixels: {error}") from error
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, height, width)` -> `(N, out_features)`."""
        out: Tensor = self.backbone(self.resize(x).contiguous(memory_format=torch.channels_last))
        return out


class _Resize(nn.Module):
    """Resize images to squares of one size, or enlarge them if their shorter side is below `min_side`."""

    def __init__(self, min_side: int, size: int | None) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise InputError(f"image_size: expected at least 1 pixel, got {size}")
        self.min_side, self.size = min_side, size

    def forward(self, x: Tensor) -> Tensor:
        height, width = map(int, x.shape[-2:])  # tensors in torch.jit.trace, which draws TensorBoard's graph
        if self.size is not None:
            size = (self.size, self.size)
        else:
            scale = max(1.0, self.min_side / min(height, width))
            size = (round(height * scale), round(width * scale))
        if size == (height, width):
            return x
        return interpolate(x, size, mode="bilinear", antialias=True)


def _check_name(library: str, name: str, networks: Iterable[str]) -> None:
    networks = list(networks)
    if name not in networks:
        raise InputError(f"backbone: {library} has no network '{name}'{did_you_mean(name, networks)}")


def _replace_first_convolution(net: nn.Module, in_channels: int) -> None:
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
