"""RNN: a recurrent network for sequences, padded or not."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.masking import sequence_mask

Cell = Literal["rnn", "gru", "lstm"]
Pooling = Literal["last", "mean", "max", "attention"]

_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RNN(nn.Module):
    """Recurrent network: RNN, GRU or LSTM layers, pooling over the steps, and a linear layer.

    With `lengths`, padding never affects the output: the forward direction reaches it last, the backward direction
    starts at the end of each sequence, and pooling skips it. Packed sequences would be ten times slower on a CPU.

    Takes `(N, steps, input_size)`, or an image `(N, channels, height, width)`, which it reads as a sequence of
    `height / rows_per_step` steps with `rows_per_step * channels * width` features; returns `(N, out_features)`.

        net = RNN(40, 10, cell="gru", bidirectional=True)
        net(torch.randn(8, 100, 40), lengths=torch.full((8,), 70))  # (8, 10)

    Args:
        input_size: Features per step.
        out_features: Number of outputs (classes or targets).
        hidden_size: Units per layer and direction.
        num_layers: Number of recurrent layers.
        cell: `lstm`, `gru` or `rnn` (Elman, tanh).
        bidirectional: Whether to read the sequence in both directions.
        dropout: Dropout probability between layers and before the linear layer, in [0, 1).
        pooling: How the steps are reduced to one vector: `last` (the last valid step of each direction), `mean`, `max`,
            or `attention` (with a learned weight per step).
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.
        rows_per_step: Image rows per step, a divisor of the height. Steps are processed one after the other, so half as
            many take about half the time.
        conv_widths: Kernel sizes of convolutions that run beside the recurrent layers and detect short patterns
            anywhere in the sequence (Kim 2014). The maximum of each channel is appended to the pooled steps.
        conv_channels: Channels of each of these convolutions.

    Raises:
        ValueError: A kernel of less than one step, or no layers.
    """

    def __init__(
        self,
        input_size: int,
        out_features: int,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        init: Init = "default",
        rows_per_step: int = 1,
        conv_widths: Sequence[int] = (),
        conv_channels: int = 128,
    ) -> None:
        super().__init__()
        if min(conv_widths, default=1) < 1:
            raise ValueError(f"conv_widths: expected at least 1 step each, got {list(conv_widths)}")
        if num_layers < 1:
            raise ValueError(f"num_layers: expected at least 1, got {num_layers}")
        directions = 2 if bidirectional else 1
        width = hidden_size * directions
        sizes = [input_size] + [width] * (num_layers - 1)
        make = _CELLS[cell]
        self.forwards = nn.ModuleList(make(size, hidden_size, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(make(size, hidden_size, batch_first=True) for size in sizes if bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.pooling, self.rows_per_step = pooling, rows_per_step
        self.attention = nn.Linear(width, 1, bias=False) if pooling == "attention" else None
        self.conv_widths = tuple(conv_widths)
        self.convs = nn.ModuleList(nn.Conv1d(input_size, conv_channels, width) for width in conv_widths)
        self.head = nn.Linear(width + conv_channels * len(conv_widths), out_features)
        initialize(self, init, "tanh")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map `(N, steps, input_size)` to `(N, out_features)`; lengths `(N,)` in [1, steps], or None for no padding."""
        if x.ndim == 4:
            # (N, C, H, W) -> (N, H / rows, rows * C * W)
            x = x.transpose(1, 2).unflatten(1, (-1, self.rows_per_step)).flatten(2)
        if lengths is None:
            lengths = x.new_full((x.shape[0],), x.shape[1], dtype=torch.long)
        steps = torch.arange(x.shape[1], device=x.device)
        last = lengths.unsqueeze(1) - 1  # (N, 1)
        # Step t of the reversed sequence is step length - 1 - t. Padding stays at the end.
        reverse = torch.where(steps <= last, last - steps, steps)  # (N, T)
        patterns = self._patterns(x, lengths)
        for i, forward_layer in enumerate(self.forwards):
            if i:
                x = self.dropout(x)
            out = forward_layer(x)[0]  # (N, T, H)
            if self.backwards:
                out = torch.cat([out, _gather(self.backwards[i](_gather(x, reverse))[0], reverse)], dim=2)  # (N, T, 2H)
            x = out
        pooled = self._pool(x, lengths)
        if patterns:
            pooled = torch.cat([pooled, *patterns], dim=1)
        out_features: Tensor = self.head(self.dropout(pooled))
        return out_features

    def parts_in_order(self) -> dict[str, list[nn.Module]]:
        """Return the parts from the input to the output, see `litnets.nets.stages.PartsInOrder`."""
        parts: dict[str, list[nn.Module]] = {f"layers.{i}": [layer] for i, layer in enumerate(self.forwards)}
        for i, layer in enumerate(self.backwards):
            parts[f"layers.{i}"].append(layer)
        before_head = [*self.convs] if self.attention is None else [*self.convs, self.attention]
        parts[f"layers.{len(self.forwards) - 1}"] += before_head
        return {**parts, "head": [self.head]}

    def _patterns(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return the maximum of each channel of each convolution over the steps, each `(N, channels)`."""
        if not self.convs:
            return []
        # A step of zeros at each end marks the ends of a sequence. A wide kernel needs more if all sequences are short.
        end = max(1, max(self.conv_widths) - 1 - x.shape[1])
        x = pad(x.masked_fill(~sequence_mask(x, lengths).unsqueeze(2), 0).transpose(1, 2), (1, end))  # (N, F, T + 2)
        maxima = []
        for conv, width in zip(self.convs, self.conv_widths, strict=True):
            out = conv(x)  # (N, channels, positions)
            num_valid = (lengths + 3 - width).clamp(min=1)  # positions of the kernel inside the padded sequence
            invalid = ~sequence_mask(out.transpose(1, 2), num_valid)
            maxima.append(out.masked_fill(invalid.unsqueeze(1), -torch.inf).amax(2).relu())
        return maxima

    def _pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map `(N, T, width)` to `(N, width)`."""
        last = lengths.unsqueeze(1) - 1  # (N, 1)
        if self.pooling == "last":
            if not self.backwards:
                return _gather(x, last).squeeze(1)
            ahead, back = x.chunk(2, dim=2)
            return torch.cat([_gather(ahead, last).squeeze(1), back[:, 0]], dim=1)
        padding = ~sequence_mask(x, lengths).unsqueeze(2)  # (N, T, 1)
        if self.pooling == "max":
            return x.masked_fill(padding, -torch.inf).amax(1)
        x = x.masked_fill(padding, 0)  # a weight of zero would not remove NaN
        if self.pooling == "mean":
            return x.sum(1) / (last + 1)
        assert self.attention is not None
        weights = self.attention(x).masked_fill(padding, -torch.inf).softmax(1)  # (N, T, 1)
        attended: Tensor = (weights * x).sum(1)
        return attended


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Return the steps `index` `(N, S)` of `x` `(N, T, F)` as `(N, S, F)`."""
    return x.gather(1, index.unsqueeze(2).expand(-1, -1, x.shape[2]))
