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
    """Recurrent network: layers of RNN, GRU or LSTM, the steps pooled to one vector, then a linear layer.

    Takes `(N, steps, input_size)`, or an image `(N, channels, height, width)` that it reads some rows at a time, as
    `height / rows_per_step` steps of `rows_per_step * channels * width` numbers; gives `(N, out_features)`. With
    `lengths`, what lies behind the end of a sequence never changes its answer: the forward direction has not seen it
    yet, the backward direction starts at the sequence's own end, and the pooling leaves it out. No packing: on a CPU
    that is an order of magnitude slower.

    Args:
        input_size: Numbers in one step.
        out_features: Numbers in one answer (classes, targets).
        hidden_size: Units of each layer and direction.
        num_layers: Layers.
        cell: `lstm`, `gru` or `rnn` (Elman, tanh).
        bidirectional: Read the sequence from both ends.
        dropout: Probability that a unit is dropped between layers and before the linear layer, in [0, 1).
        pooling: How the steps become one vector: `last` (the last valid step of each direction), `mean`, `max`, or
            `attention` (a learnt weight for each step).
        init: How the weights start, see `litnets.nets.layers.initialization.initialize`.
        rows_per_step: Rows of an image in one step, a divisor of its height: steps are taken one after the other, so
            that half as many take about half the time.
        conv_widths: Steps that convolutions beside the recurrent layers see, one for each width: which short patterns
            are in the sequence, wherever (Kim 2014). The largest answer of each channel joins the pooled steps before
            the linear layer.
        conv_channels: Channels of each of these convolutions.

    Raises:
        ValueError: A convolution over less than one step, or no layer.
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
        """`(N, steps, input_size)`, lengths `(N,)` in [1, steps] or None for full ones -> `(N, out_features)`."""
        if x.ndim == 4:
            # (N, C, H, W) -> (N, H / rows, rows * C * W)
            x = x.transpose(1, 2).unflatten(1, (-1, self.rows_per_step)).flatten(2)
        if lengths is None:
            lengths = x.new_full((len(x),), x.shape[1], dtype=torch.long)
        steps = torch.arange(x.shape[1], device=x.device)
        last = lengths.unsqueeze(1) - 1  # (N, 1)
        # Position t of the reversed sequence is position length - 1 - t; the padding stays behind the end.
        reverse = torch.where(steps <= last, last - steps, steps)  # (N, T)
        patterns = self._patterns(x, lengths)
        for i, forward_layer in enumerate(self.forwards):
            if i:
                x = self.dropout(x)
            out = forward_layer(x)[0]  # (N, T, H)
            if self.backwards:
                out = torch.cat([out, _gather(self.backwards[i](_gather(x, reverse))[0], reverse)], dim=2)  # (N, T, 2H)
            x = out
        pooled = self._pool(x, steps, last)
        if patterns:
            pooled = torch.cat([pooled, *patterns], dim=1)
        out_features: Tensor = self.head(self.dropout(pooled))
        return out_features

    def _patterns(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """`(N, T, input_size)` -> for each convolution the maxima of its channels over the steps, `(N, channels)`."""
        if not self.convs:
            return []
        # A step of zeros at each end shows where a sequence begins and ends; more where all are shorter than a pattern.
        behind = max(1, max(self.conv_widths) - 1 - x.shape[1])
        x = pad(x.masked_fill(~sequence_mask(x, lengths).unsqueeze(2), 0).transpose(1, 2), (1, behind))  # (N, F, T + 2)
        found = []
        for conv, width in zip(self.convs, self.conv_widths, strict=True):
            out = conv(x)  # (N, channels, places)
            places = (lengths + 3 - width).clamp(min=1)  # where the pattern lies between the two ends
            outside = ~sequence_mask(out.transpose(1, 2), places)
            found.append(out.masked_fill(outside.unsqueeze(1), -torch.inf).amax(2).relu())
        return found

    def _pool(self, x: Tensor, steps: Tensor, last: Tensor) -> Tensor:
        """`(N, T, width)` -> `(N, width)`."""
        if self.pooling == "last":
            if not self.backwards:
                return _gather(x, last).squeeze(1)
            ahead, back = x.chunk(2, dim=2)
            return torch.cat([_gather(ahead, last).squeeze(1), back[:, 0]], dim=1)
        padding = (steps > last).unsqueeze(2)  # (N, T, 1)
        if self.pooling == "max":
            return x.masked_fill(padding, -torch.inf).amax(1)
        x = x.masked_fill(padding, 0)  # be it NaN, which no weight of zero takes away
        if self.pooling == "mean":
            return x.sum(1) / (last + 1)
        assert self.attention is not None
        weights = self.attention(x).masked_fill(padding, -torch.inf).softmax(1)  # (N, T, 1)
        attended: Tensor = (weights * x).sum(1)
        return attended


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Steps `index` `(N, S)` of `x` `(N, T, F)` -> `(N, S, F)`."""
    return x.gather(1, index.unsqueeze(2).expand(-1, -1, x.shape[2]))
