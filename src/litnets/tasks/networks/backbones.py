"""The networks of torchvision and timm for any task: their arguments, and a check of the normalization."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import nn

from litnets.errors import InputError
from litnets.nets.backbones import BackboneNet, PretrainedNormalization, TimmNet, TorchvisionNet
from litnets.nets.torchvision_unet import TorchvisionUNet
from litnets.tasks.base import NetFactory, Task
from litnets.tasks.input_shapes import InputKind, Shape, image_channels


class WithPretrained(Task):
    """A network for images that can have pretrained weights.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        net: Builds the network, given the numbers of channels and outputs, and the following arguments by name.
        weights: Pretrained weights. `auto` looks for them in the folder of the data, the caches of torch and of the
            Hugging Face Hub, and installed packages, and downloads them otherwise; a path loads that file (.pth,
            .safetensors); `none` starts from random weights. They are loaded for a new run only.
        channel_mean: Mean of each channel by which the data are normalized; linked from the data. A network with
            pretrained weights replaces this normalization by that of its weights.
        channel_std: Standard deviation of each channel by which the data are normalized; linked from the data.
        **task: Arguments of the task.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        net: Callable[..., nn.Module],
        *,
        weights: str = "none",
        channel_mean: list[float] | None = None,
        channel_std: list[float] | None = None,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> nn.Module:
            channels = image_channels(shape, type(self))
            arguments = {"weights": weights, "channel_mean": channel_mean, "channel_std": channel_std}
            return net(channels, out_features, **arguments)

        super().__init__(NetFactory(input_shape, build), **task)

    @property
    def loaded_weights(self) -> str | None:
        """A line that says which pretrained weights were loaded; None if none were loaded."""
        assert isinstance(self.net, BackboneNet)
        return self.net.loaded

    def check_data(self, datamodule: Any) -> None:
        """Check that a DataModule normalizes images as a network with pretrained weights was built to expect."""
        inputs = self.net.inputs
        if not isinstance(inputs, PretrainedNormalization) or not hasattr(datamodule, "channel_mean"):
            return
        for name, expected in (("channel_mean", inputs.data_mean), ("channel_std", inputs.data_std)):
            values = getattr(datamodule, name)
            if not np.allclose(values, expected, rtol=1e-4, atol=1e-6):
                raise InputError(
                    f"{name}: the images are normalized by {_rounded(values)}, but the network with pretrained weights "
                    f"was built for {_rounded(expected)}, so it would get wrong inputs; build it with the {name} of "
                    "this DataModule (if both come from a checkpoint, it is damaged)"
                )


class WithBackbone(WithPretrained):
    """A network for images from another library, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the network in its library.
        image_size: Side of the squares that images are resized to; by default only small images are enlarged, to a
            shorter side of 64 pixels or the minimum of the network. With pretrained weights, the default is the size
            that they were trained with.
        **pretrained: Arguments of `WithPretrained`.
    """

    net_class: ClassVar[type[TorchvisionNet | TimmNet]]

    def __init__(
        self, input_shape: Sequence[int | None], *, backbone: str, image_size: int | None = None, **pretrained: Any
    ) -> None:
        net = partial(self.net_class, backbone=backbone, image_size=image_size)
        super().__init__(input_shape, net, **pretrained)


class WithTorchvision(WithBackbone):
    """Any network of torchvision for images, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the network: `alexnet`, `vgg16`, `resnet50`, `efficientnet_b0`, ... (all of
            `torchvision.models.list_models()` that classify).
        **network: Arguments of `WithBackbone`.
    """

    reads: ClassVar[frozenset[InputKind]] = frozenset({"image", "image of any size"})
    net_class = TorchvisionNet

    def __init__(self, input_shape: Sequence[int | None], *, backbone: str = "resnet18", **network: Any) -> None:
        super().__init__(input_shape, backbone=backbone, **network)


class WithTimm(WithBackbone):
    """Any network of timm (PyTorch Image Models; the extra `timm`) for images, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the network, such as `mobilenetv4_conv_small` (all of `timm.list_models()`).
        **network: Arguments of `WithBackbone`.
    """

    reads: ClassVar[frozenset[InputKind]] = frozenset({"image", "image of any size"})
    net_class = TimmNet

    def __init__(
        self, input_shape: Sequence[int | None], *, backbone: str = "mobilenetv4_conv_small", **network: Any
    ) -> None:
        super().__init__(input_shape, backbone=backbone, **network)


class WithTorchvisionUNet(WithPretrained):
    """A U-Net whose encoder is a network of torchvision, for images of any size.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the encoder: `resnet18`, `efficientnet_b0`, `vgg16`, `convnext_tiny`, ... (the convolutional
            networks of `torchvision.models.list_models()`, except AlexNet, GoogLeNet, Inception and SqueezeNet).
        width: Channels of the decoder at full resolution; twice as many each time the image is halved.
        dropout: Dropout probability of the channels of the deepest features.
        **pretrained: Arguments of `WithPretrained`.
    """

    reads: ClassVar[frozenset[InputKind]] = frozenset({"image", "image of any size"})

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        backbone: str = "resnet18",
        width: int = 16,
        dropout: float = 0.0,
        **pretrained: Any,
    ) -> None:
        net = partial(TorchvisionUNet, backbone=backbone, width=width, dropout=dropout)
        super().__init__(input_shape, net, **pretrained)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
