"""CNN1d: convolution blocks for sequences, padded or not."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from litnets.nets.layers.activation import ACTIVATIONS, Activation
from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.masking import as_steps, masked_pool, sequence_mask
from litnets.nets.layers.normalization import BatchNorm1d

Norm = Literal["layer", "batch", "none"]
Pooling = Literal["mean", "max", "last"]


class CNN1d(nn.Module):
    """1D convolutional network: stages of convolution blocks, pooling over the steps, and a linear layer.

    The sequence is halved between stages. With `lengths`, padding never affects the output: convolutions see zeros in
    its place, as beyond the ends of a full sequence, and normalization, downsampling and pooling skip it.

    Takes `(N, steps, input_size)`, or an image `(N, channels, height, width)`, which it reads as a sequence of rows;
    returns `(N, out_features)`.

        net = CNN1d(40, 10, widths=(64, 128))
        net(torch.randn(8, 100, 40), lengths=torch.full((8,), 70))  # (8, 10)

    Args:
        input_size: Features per step.
        out_features: Number of outputs (classes or targets).
        widths: Channels of each stage.
        blocks_per_stage: Convolution blocks per stage.
        kernel_size: Steps per kernel, an odd number.
        activation: Name of the activation.
        norm: `layer` (over the channels of a step), `batch` (over all valid steps of the batch), or `none`.
        dropout: Dropout probability of channels between stages and of features before the linear layer, in [0, 1).
        residual: Whether to add the input of a block to its output (through a 1x1 convolution if the widths differ).
        pooling: How the steps are reduced to one vector: `mean`, `max` or `last` (the last valid step).
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.

    Raises:
        ValueError: An even `kernel_size`, or no stages, channels or blocks.
    """

    def __init__(
        self,
        input_size: int,
        out_features: int,
        widths: Sequence[int] = (64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 5,
        activation: Activation = "relu",
        norm: Norm = "layer",
        dropout: float = 0.0,
        residual: bool = False,
        pooling: Pooling = "max",
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
        self.stages = nn.ModuleList(
            nn.ModuleList(
                _Block(fan_in if block == 0 else width, width, kernel_size, activation, norm, residual)
                for block in range(blocks_per_stage)
            )
            for fan_in, width in zip((input_size, *widths[:-1]), widths, strict=True)
        )
        self.pooling = pooling
        self.drop_channels, self.dropout = nn.Dropout1d(dropout), nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], out_features)
        initialize(self, init, activation)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map `(N, steps, input_size)` to `(N, out_features)`; lengths `(N,)` in [1, steps], or None for no padding."""
        x = as_steps(x)
        mask = sequence_mask(x, lengths)  # (N, T)
        x = x.transpose(1, 2)  # (N, F, T)
        for i, stage in enumerate(self.stages):
            if i:
                x = x.masked_fill(~mask.unsqueeze(1), -torch.inf)
                x = max_pool2d(x.unsqueeze(2), (1, 2), ceil_mode=True).squeeze(2)  # max_pool1d fixes T in an export
                mask = mask[:, ::2]  # a pair of steps is valid if the first one is
                x = self.drop_channels(x.masked_fill(~mask.unsqueeze(1), 0))
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, mask)
        out: Tensor = self.head(self.dropout(masked_pool(x.transpose(1, 2), mask, self.pooling)))
        return out


class _Block(nn.Module):
    """Convolution, normalization, shortcut (if residual), activation."""

    def __init__(
        self, fan_in: int, width: int, kernel_size: int, activation: Activation, norm: Norm, residual: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(fan_in, width, kernel_size, padding=kernel_size // 2, bias=norm != "batch")
        self.norm = {"layer": nn.LayerNorm, "batch": BatchNorm1d}[norm](width) if norm != "none" else None
        self.activation = ACTIVATIONS[activation]()
        self.shortcut: nn.Module | None = None
        if residual:
            self.shortcut = nn.Identity() if fan_in == width else nn.Conv1d(fan_in, width, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map `(N, F, T)` to `(N, width, T)`; mask `(N, T)`, True for valid steps."""
        x = x.masked_fill(~mask.unsqueeze(1), 0)
        out = self.conv(x)
        if isinstance(self.norm, nn.LayerNorm):
            out = self.norm(out.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            steps = out.transpose(1, 2)  # (N, T, width)
            if self.training:  # only valid steps contribute to the batch statistics
                normalized = self.norm(steps[mask])  # (valid steps, width)
                steps = normalized.new_zeros(steps.shape).masked_scatter(mask.unsqueeze(2), normalized)
            else:  # without indexing by the mask, so that the network can be exported
                steps = self.norm(steps.flatten(0, 1)).view(steps.shape).masked_fill(~mask.unsqueeze(2), 0)
            out = steps.transpose(1, 2)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        activated: Tensor = self.activation(out)
        return activated
