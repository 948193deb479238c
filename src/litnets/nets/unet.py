"""U-Net: an encoder, a decoder, and skip connections between them (Ronneberger et al. 2015, arXiv 1505.04597)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from litnets.nets.cnn import ConvBlock, Norm
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init, initialize


class UNet(nn.Module):
    """U-Net for semantic segmentation: logits for each pixel of an image of any size.

    Each stage of the encoder after the first halves the height and width. Each stage of the decoder doubles them, and
    also reads the features of the encoder at that size (a skip connection). Images are padded to a multiple of the
    total stride by repeating their border, and the logits are cropped back.

    Unlike in the paper, convolutions are padded and followed by normalization.

    Takes `(N, channels, height, width)` and returns `(N, out_features, height, width)`.

        net = UNet(3, 4, widths=(16, 32, 64))
        net(torch.randn(8, 3, 33, 47))  # (8, 4, 33, 47)

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs for each pixel (classes).
        widths: Channels of each stage, from the full resolution down.
        blocks_per_stage: Convolution blocks per stage.
        kernel_size: Side of the square kernels, an odd number.
        activation: Name of the activation.
        norm: `batch`, `group` (up to 8 groups, for tiny batches) or `none`.
        dropout: Dropout probability of the channels of the deepest stage, in [0, 1).
        residual: Whether to add the input of a block to its output (through a 1x1 convolution if the shapes differ).
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.

    Raises:
        ValueError: An even `kernel_size`, or no stages, channels or blocks.
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: Norm = "batch",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")
        if not widths or min(widths) < 1:
            raise ValueError(f"widths: expected at least one stage of at least 1 channel, got {list(widths)}")
        if blocks_per_stage < 1:
            raise ValueError(f"blocks_per_stage: expected at least 1, got {blocks_per_stage}")

        def stage(fan_in: int, width: int) -> nn.Sequential:
            return conv_stage(fan_in, width, blocks_per_stage, kernel_size, activation, norm, residual)

        first, *deeper = widths
        self.stride = 2 ** len(deeper)
        self.encoder = nn.ModuleList([stage(in_channels, first)])
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width, deeper_width in zip(widths, deeper, strict=False):
            self.encoder.append(nn.Sequential(nn.MaxPool2d(2), stage(width, deeper_width)))
            # In the order of `forward`: the deepest stage is the first of the decoder.
            self.upsample.insert(0, nn.ConvTranspose2d(deeper_width, width, 2, 2))
            self.decoder.insert(0, stage(2 * width, width))
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(first, out_features, 1)
        initialize(self, init, activation)
        # The fastest memory format for convolutions on CPUs and GPUs.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, channels, height, width)` to `(N, out_features, height, width)`."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride).contiguous(memory_format=torch.channels_last)
        features = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        features[-1] = self.dropout(features[-1])
        out: Tensor = self.head(decode(features, self.upsample, self.decoder))[..., :height, :width]
        return out

    def parts_in_order(self) -> dict[str, list[nn.Module]]:
        """Return the parts from the input to the output, see `litnets.nets.stages.PartsInOrder`."""
        parts: dict[str, list[nn.Module]] = {f"encoder.{i}": [stage] for i, stage in enumerate(self.encoder)}
        for i, (upsample, stage) in enumerate(zip(self.upsample, self.decoder, strict=True)):
            parts[f"decoder.{i}"] = [upsample, stage]
        return {**parts, "head": [self.head]}


def conv_stage(
    fan_in: int,
    width: int,
    blocks: int = 2,
    kernel_size: int = 3,
    activation: Activation = "relu",
    norm: Norm = "batch",
    residual: bool = False,
) -> nn.Sequential:
    """Return convolution blocks that keep the size of the image; see `UNet` for the arguments."""
    fan_ins = [fan_in] + [width] * (blocks - 1)
    return nn.Sequential(*(ConvBlock(n, width, kernel_size, 1, activation, norm, residual) for n in fan_ins))


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Pad images to a multiple of `stride` at the bottom and on the right, by repeating their border."""
    height, width = x.shape[-2:]
    return pad(x, (0, -width % stride, 0, -height % stride), "replicate")


def decode(features: Sequence[Tensor], upsample: nn.ModuleList, decoder: nn.ModuleList) -> Tensor:
    """Run the decoder.

    Args:
        features: Output of each stage of the encoder, from the full resolution down.
        upsample: Enlarges the features to the size of the next skip connection, from the deepest stage up.
        decoder: Reads each skip connection and the enlarged features.
    """
    *skips, x = features
    for skip, enlarge, stage in zip(reversed(skips), upsample, decoder, strict=True):
        x = stage(torch.cat([skip, enlarge(x)], 1))
    return x
