"""CNN: convolution blocks for images."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from litnets.nets.layers.activation import ACTIVATIONS, Activation
from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.normalization import BatchNorm2d

Norm = Literal["batch", "group", "none"]


class CNN(nn.Module):
    """Convolutional network: stages of convolution blocks, global average pooling, and a linear layer.

    Each stage halves the image unless it is down to one pixel. Works for images of at least 8x8 pixels.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = CNN(3, 10, widths=(32, 64), residual=True)
        net(torch.randn(16, 3, 32, 32))  # (16, 10)

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        widths: Channels of each stage.
        blocks_per_stage: Convolution blocks per stage.
        kernel_size: Side of the square kernels, an odd number.
        activation: Name of the activation.
        norm: `batch`, `group` (up to 8 groups, for tiny batches) or `none`.
        pool: Downsampling: `max`, `avg`, or `stride` (in the first convolution of the stage).
        dropout: Dropout probability of channels between stages and of features before the linear layer, in [0, 1).
        residual: Whether to add the input of a block to its output (through a 1x1 convolution if the shapes differ).
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.

    Raises:
        ValueError: An even `kernel_size`, or no stages, channels or blocks.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        widths: Sequence[int] = (32, 64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: Norm = "batch",
        pool: Literal["max", "avg", "stride"] = "max",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
        if not widths:
            raise ValueError("widths: expected the channels of at least one stage, got none")
        if min(widths) < 1:
            raise ValueError(f"widths: expected at least 1 channel each, got {list(widths)}")
        if blocks_per_stage < 1:
            raise ValueError(f"blocks_per_stage: expected at least 1, got {blocks_per_stage}")
        stages: list[nn.Module] = []
        for fan_in, width in zip((in_channels, *widths[:-1]), widths, strict=True):
            blocks: list[nn.Module] = []
            for block in range(blocks_per_stage):
                stride = 2 if pool == "stride" and block == 0 else 1
                sizes = fan_in if block == 0 else width, width, kernel_size, stride
                blocks.append(ConvBlock(*sizes, activation, norm, residual))
            if pool != "stride":
                blocks.append(Downsample(pool))
            if dropout:
                blocks.append(nn.Dropout2d(dropout))
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1], out_features)
        )
        initialize(self, init, activation)
        # The fastest memory format for convolutions on CPUs and GPUs.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, channels, height, width)` to `(N, out_features)`."""
        out: Tensor = self.head(self.stages(x.contiguous(memory_format=torch.channels_last)))
        return out


class ConvBlock(nn.Module):
    """Convolution, normalization, shortcut (if residual), activation."""

    def __init__(
        self, fan_in: int, width: int, kernel_size: int, stride: int, activation: Activation, norm: Norm, residual: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, width, kernel_size, stride, padding=kernel_size // 2, bias=norm == "none")
        self.norm = _norm(norm, width)
        self.activation = ACTIVATIONS[activation]()
        self.shortcut: nn.Module | None = None
        if residual:
            same = fan_in == width and stride == 1
            self.shortcut = nn.Identity() if same else nn.Conv2d(fan_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.conv(x))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        activated: Tensor = self.activation(out)
        return activated


class Downsample(nn.Module):
    """2x2 pooling that leaves an image alone once it is one pixel high or wide."""

    def __init__(self, kind: Literal["max", "avg"]) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if kind == "max" else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(x) if min(x.shape[-2:]) > 1 else x
        return out


def _norm(norm: Norm, width: int) -> nn.Module:
    if norm == "batch":
        return BatchNorm2d(width)
    if norm == "group":
        return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if width % groups == 0), width)
    return nn.Identity()
