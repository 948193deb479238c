"""Masks and pooling for sequences `(N, T, F)` of different lengths."""

import torch
from torch import Tensor


def as_steps(x: Tensor) -> Tensor:
    """Return a sequence `(N, T, F)` unchanged, and an image `(N, C, H, W)` as a sequence of rows `(N, H, C * W)`."""
    return x.transpose(1, 2).flatten(2) if x.ndim == 4 else x


def sequence_mask(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return a mask `(N, T)` that is True for the valid steps of `x` `(N, T, ...)`; without lengths, all are valid."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)


def masked_pool(x: Tensor, mask: Tensor, how: str) -> Tensor:
    """Reduce the valid steps of each sequence to their `mean`, `max`, `first` or `last`.

    Takes `(N, T, F)` and a mask `(N, T)`, and returns `(N, F)`. Padding has no effect, even if it is NaN.
    """
    if how == "first":
        return x[:, 0]
    if how == "last":
        last = mask.sum(1) - 1
        return x[torch.arange(x.shape[0], device=x.device), last]
    padding = ~mask.unsqueeze(2)
    if how == "max":
        return x.masked_fill(padding, -torch.inf).amax(1)
    return x.masked_fill(padding, 0).sum(1) / mask.sum(1, keepdim=True)
