"""ResNet: residual networks for small images (He et al. 2016, arXiv 1512.03385)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.normalization import BatchNorm2d


class _Plan(NamedTuple):
    widths: tuple[int, ...]  # channels of each stage; every stage but the first halves the image
    blocks: int  # per stage, of two convolutions each
    projection: bool  # shortcuts between stages: a 1x1 convolution, or the zero-padded input


# 18 is in table 1 of the paper; the others, with 6n + 2 layers, are in section 4.2.
_PLANS: dict[int, _Plan] = {
    18: _Plan((64, 128, 256, 512), 2, projection=True),
    **{6 * n + 2: _Plan((16, 32, 64), n, projection=False) for n in (3, 5, 7, 9, 18)},
}


class ResNet(nn.Module):
    """Residual network for small images (He et al. 2016).

    One 3x3 convolution; stages of residual blocks, each of two 3x3 convolutions; global average pooling and a linear
    layer. Works for images of any size, and is meant for about 32x32 pixels.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = ResNet(3, 10, depth=20)  # 0.27 million parameters

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        depth: 20, 32, 44, 56 or 110 for the networks in section 4.2 of the paper (stages of 16, 32 and 64 channels,
            shortcuts without weights), or 18 for the network in table 1 (stages of 64 to 512 channels), but with a 3x3
            convolution in place of the 7x7 convolution and max pooling.
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`; the paper uses `he`.

    Raises:
        ValueError: An unknown depth.
    """

    def __init__(self, in_channels: int, out_features: int, depth: int = 20, init: Init = "he") -> None:
        super().__init__()
        if depth not in _PLANS:
            raise ValueError(f"depth: expected one of {', '.join(map(str, sorted(_PLANS)))}, got {depth}")
        widths, blocks, projection = _PLANS[depth]
        first = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, padding=1, bias=False), BatchNorm2d(first), nn.ReLU()
        )
        stages = []
        for fan_in, width in zip((first, *widths[:-1]), widths, strict=True):
            start = _Block(fan_in, width, 1 if width == first else 2, projection)
            stages.append(nn.Sequential(start, *(_Block(width, width, 1, projection) for _ in range(blocks - 1))))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], out_features))
        initialize(self, init)
        # The fastest memory format for convolutions on CPUs and GPUs.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, channels, height, width)` to `(N, out_features)`."""
        out: Tensor = self.head(self.stages(self.stem(x.contiguous(memory_format=torch.channels_last))))
        return out


class _Block(nn.Module):
    """Two convolutions with batch normalization, plus the shortcut, then the activation."""

    def __init__(self, fan_in: int, width: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or fan_in != width:
            self.shortcut = (
                nn.Sequential(nn.Conv2d(fan_in, width, 1, stride, bias=False), BatchNorm2d(width))
                if projection
                else _Padded(stride, width - fan_in)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        activated: Tensor = (out + self.shortcut(x)).relu()
        return activated


class _Padded(nn.Module):
    """Subsample the pixels and append zero channels: the shortcut without weights (option A of the paper)."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))
