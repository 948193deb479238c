"""Map numbers with a skewed distribution to a normal one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_PROBABILITIES = np.linspace(0, 1, 101)
_SKEWNESS = 1.0
_MAX_SCORE = 3.0


def fit_quantiles(columns: NDArray[np.float64]) -> dict[int, list[float]]:
    """Return 101 quantiles of each skewed column, by column index.

    Args:
        columns: The values, `(rows, columns)`, without missing ones.

    A column is skewed if the absolute value of its skewness, the mean cube of its standardized values, is above 1.
    """
    deviations = columns - columns.mean(0)
    std = deviations.std(0)
    skewness = (deviations**3).mean(0) / np.where(std > 0, std, 1) ** 3
    skewed = np.flatnonzero(np.abs(skewness) > _SKEWNESS).tolist()
    return {column: np.quantile(columns[:, column], _PROBABILITIES).tolist() for column in skewed}


class NormalizeSkewed(nn.Module):
    """Map each number to the standard normal quantile of the same probability, clipped to [-3, 3].

    Values between two quantiles are interpolated. A value that equals several quantiles, because many rows have it,
    is mapped to the mean of their normal quantiles.

    Args:
        quantiles: 101 quantiles of each column, `(columns, 101)`, in ascending order.
    """

    quantiles: Tensor
    scores: Tensor

    def __init__(self, quantiles: Any) -> None:
        super().__init__()
        knots = torch.tensor(quantiles)
        normal = torch.special.ndtri(torch.from_numpy(_PROBABILITIES)).clamp(-_MAX_SCORE, _MAX_SCORE)
        is_equal = (knots.unsqueeze(2) == knots.unsqueeze(1)).double()  # (columns, 101, 101)
        self.register_buffer("quantiles", knots)
        self.register_buffer("scores", (is_equal @ normal / is_equal.sum(2)).float())

    def forward(self, values: Tensor) -> Tensor:
        """Map `(N, columns)` to the same shape."""
        reached = (values.unsqueeze(2) >= self.quantiles).sum(2) - 1  # (N, columns)
        left = reached.clamp(0, len(_PROBABILITIES) - 2).unsqueeze(2)
        lower, upper = (self._pick(self.quantiles, left + offset) for offset in (0, 1))
        fraction = ((values - lower) / torch.where(upper > lower, upper - lower, 1)).clamp(0, 1)
        low_score, high_score = (self._pick(self.scores, left + offset) for offset in (0, 1))
        return low_score + fraction * (high_score - low_score)

    @staticmethod
    def _pick(table: Tensor, indices: Tensor) -> Tensor:
        return table.expand(indices.shape[0], -1, -1).gather(2, indices).squeeze(2)
