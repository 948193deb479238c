"""Batch normalization that accepts a training batch with a single value per channel."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import batch_norm


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that accepts a training batch of one sample."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self, x, super().forward)


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that accepts a training batch of one image with one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self, x, super().forward)


def _normalize(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """Normalize with the running statistics if there is a single value per channel, which has no variance.

    torch raises an error for such a batch.
    """
    if norm.training and x.numel() == norm.num_features:
        return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return forward(x)
