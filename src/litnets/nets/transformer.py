"""Transformer: a small pre-norm encoder for sequences, padded or not."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.masking import as_steps, masked_pool, sequence_mask

Pooling = Literal["mean", "max", "first"]


class Transformer(nn.Module):
    """Pre-norm Transformer encoder (Vaswani et al. 2017, Xiong et al. 2020).

    A linear projection with sinusoidal positions, layers of self-attention and an MLP, pooling over the steps, and a
    linear layer. With `lengths`, padding never affects the output: attention and pooling skip it. Time and memory grow
    with the square of the number of steps.

    Takes `(N, steps, input_size)`, or an image `(N, channels, height, width)`, which it reads as a sequence of rows;
    returns `(N, out_features)`.

        net = Transformer(40, 10, hidden_size=64, num_heads=4, pooling="first")
        net(torch.randn(8, 100, 40), lengths=torch.full((8,), 70))  # (8, 10)

    Args:
        input_size: Features per step.
        out_features: Number of outputs (classes or targets).
        hidden_size: Model dimension; the hidden layer of each MLP is four times as wide.
        num_layers: Number of encoder layers.
        num_heads: Attention heads; a divisor of `hidden_size`.
        dropout: Dropout probability after adding the positions, after each part of a layer and before the last linear
            layer, in [0, 1).
        pooling: How the steps are reduced to one vector: `mean`, `max`, or `first` (a learned token in front of the
            sequence, as in BERT).
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.

    Raises:
        ValueError: No heads, or a `hidden_size` that is odd or not a multiple of `num_heads`.
    """

    def __init__(
        self,
        input_size: int,
        out_features: int,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        pooling: Pooling = "mean",
        init: Init = "default",
    ) -> None:
        super().__init__()
        if num_heads < 1:
            raise ValueError(f"num_heads: expected at least 1, got {num_heads}")
        if hidden_size % 2 or hidden_size % num_heads:
            raise ValueError(f"hidden_size: expected an even multiple of {num_heads} heads, got {hidden_size}")
        self.pooling = pooling
        self.project = nn.Linear(input_size, hidden_size)
        self.first = nn.Parameter(torch.randn(1, hidden_size) * 0.02) if pooling == "first" else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(hidden_size, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, out_features)
        initialize(self, init, "gelu")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map `(N, steps, input_size)` to `(N, out_features)`; lengths `(N,)` in [1, steps], or None for no padding."""
        x = as_steps(x)
        mask = sequence_mask(x, lengths)  # (N, T)
        # Attention gives padding a weight of zero, but zero times infinity would be NaN.
        x = self.project(x.masked_fill(~mask.unsqueeze(2), 0))  # (N, T, H)
        x = x + positions(x.shape[1], x.shape[2], x.device).to(x.dtype)
        if self.first is not None:
            x = torch.cat([self.first.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
            mask = torch.cat([mask.new_ones(x.shape[0], 1), mask], dim=1)
        x = self.dropout(x)
        attended = None if lengths is None else mask[:, None, None]  # (N, 1, 1, T), for all heads and queries
        for layer in self.layers:
            x = layer(x, attended)
        out: Tensor = self.head(self.dropout(masked_pool(self.norm(x), mask, self.pooling)))
        return out


class _Layer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Transform `(N, T, H)`; mask `(N, 1, 1, T)`, True for valid steps."""
        parts = self.query_key_value(self.norm1(x)).unflatten(2, (3, self.num_heads, -1))  # (N, T, 3, heads, H / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (N, heads, T, H / heads)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


def positions(steps: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return sinusoidal position encodings `(steps, size)` (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10_000) / size))  # (size / 2,)
    angles = torch.arange(steps, device=device).unsqueeze(1) * rates  # (steps, size / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
