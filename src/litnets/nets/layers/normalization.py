"""Batch normalisation that a last batch of one sample does not stop."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import batch_norm


class BatchNorm1d(nn.BatchNorm1d):
    """torch's, for a training batch of one sample as well."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self, x, super().forward)


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, for a training batch of one image of one pixel as well."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self, x, super().forward)


def _normalize(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, usual: Callable[[Tensor], Tensor]) -> Tensor:
    """As `usual`; by the running statistics if there is a single value of each channel, which has no variance and which
    torch refuses."""
    if norm.training and x.numel() == norm.num_features:
        return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return usual(x)
