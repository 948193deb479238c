"""Scaling to mean 0 and standard deviation 1."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn


class Standardize(nn.Module):
    """Scale inputs to mean 0 and standard deviation 1 per feature or channel.

        Standardize(mean, std, (-1, 1, 1))(images)  # images (N, channels, height, width), as floats

    Args:
        mean: Mean of each feature or channel.
        std: Standard deviation of each feature or channel.
        shape: Shape of the statistics, which is broadcast against the inputs. Default: the features are the last axis.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], shape: Sequence[int] = (-1,)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(*shape))
        self.register_buffer("std", torch.tensor(std).view(*shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs scaled, in the same shape."""
        if inputs.is_floating_point():
            return (inputs - self.mean).div_(self.std)
        return inputs.to(self.mean.dtype).sub_(self.mean).div_(self.std)  # a single new tensor


def replace_zero_std(std: ArrayLike, threshold: float | NDArray[np.float64] = 0.0) -> list[float]:
    """Replace the standard deviation of each constant feature by 1.

    Dividing by the result scales a constant feature to 0 instead of infinity or NaN, as scikit-learn's StandardScaler
    does.

    Args:
        std: Standard deviations, `(features,)`.
        threshold: A feature whose standard deviation is at most this large is constant: one number, or one per feature.
    """
    values = np.asarray(std, np.float64)
    scales: list[float] = np.where(values > threshold, values, 1.0).tolist()
    return scales
