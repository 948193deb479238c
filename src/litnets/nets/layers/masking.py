"""What networks for sequences `(N, T, F)` of different lengths have in common: which steps are there, and pooling."""

import torch
from torch import Tensor


def as_steps(x: Tensor) -> Tensor:
    """A sequence `(N, T, F)` as it is; an image `(N, C, H, W)` row by row, `(N, H, C * W)`."""
    return x.transpose(1, 2).flatten(2) if x.ndim == 4 else x


def sequence_mask(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Whether a step of `x` `(N, T, ...)` is part of its sequence, `(N, T)`; without lengths all are."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)


def masked_pool(x: Tensor, mask: Tensor, how: str) -> Tensor:
    """`(N, T, F)` -> `(N, F)`: the `mean`, `max`, `first` or `last` of the steps inside `mask` `(N, T)`.

    What stands outside has no part in it, be it NaN.
    """
    if how == "first":
        return x[:, 0]
    if how == "last":
        last = mask.sum(1) - 1
        return x[torch.arange(len(x), device=x.device), last]
    outside = ~mask.unsqueeze(2)
    if how == "max":
        return x.masked_fill(outside, -torch.inf).amax(1)
    return x.masked_fill(outside, 0).sum(1) / mask.sum(1, keepdim=True)
