"""Scaling by the standard deviation when some features are constant."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
