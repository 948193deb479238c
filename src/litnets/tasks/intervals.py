"""The prediction intervals of a calibrated network that predicts numbers."""

from torch import Tensor


def prediction_interval(values: Tensor, half_widths: Tensor | None) -> dict[str, Tensor]:
    """Return the columns `lower` and `upper`, or no columns for a network that is not calibrated.

    Args:
        values: The predictions, `(N, ...)`.
        half_widths: Half the width of the interval of each value of a sample, `(...)`.
    """
    return {} if half_widths is None else {"lower": values - half_widths, "upper": values + half_widths}
