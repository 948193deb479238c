"""Simple forecasts: the last value, the last period, and a linear map of the window, all of standardized values."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from litnets.data.core.base import ArrayDataModule

Forecast = Callable[[Tensor], Tensor]  # from inputs `(N, look_back, channels)` to a forecast `(N, horizon, channels)`

_MAX_ROWS = 20_000  # windows of one channel that the linear forecast is fitted on
_MAX_COMPARED = 200_000_000  # values of the forecasts that are compared to find the period
_BATCH_VALUES = 2**22


def windows(data: ArrayDataModule, part: str, samples: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of the prepared windows of a split, inputs and targets.

    Args:
        data: The data.
        part: train, val or test.
        samples: Positions of the windows in the split; None for all.
    """
    split: Any = data.splits[part]
    samples = torch.arange(len(split)) if samples is None else samples
    values = split.inputs[0].numel() + split.targets[0].numel()
    for batch in samples.split(max(1, min(1000, _BATCH_VALUES // values))):
        inputs, targets = split[batch]
        yield data.prepare(inputs), data.prepare(targets)


def _few_windows(data: ArrayDataModule, count: int) -> tuple[Tensor, Tensor]:
    """Return evenly spaced windows of the training split, inputs and targets."""
    size = len(data.splits["train"])
    samples = torch.linspace(0, size - 1, min(size, max(1, count))).long()
    inputs, targets = zip(*windows(data, "train", samples), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def repeat_last(period: int, horizon: int) -> Forecast:
    """Return the forecast that repeats the last `period` steps."""
    return lambda inputs: inputs[:, -period:][:, torch.arange(horizon) % period].contiguous()


def find_period(data: ArrayDataModule) -> int:
    """Return the period, of at most `look_back` steps, whose repetition has the smallest error on the training split.

    The errors are those of at most 500 evenly spaced windows, fewer if they are large.
    """
    split: Any = data.splits["train"]
    look_back, horizon = split.inputs.shape[1], split.targets.shape[1]
    inputs, targets = _few_windows(data, min(500, _MAX_COMPARED // (look_back * split.targets[0].numel())))
    errors = [
        float((repeat_last(period, horizon)(inputs) - targets).square().mean()) for period in range(1, look_back + 1)
    ]
    return 1 + min(range(len(errors)), key=errors.__getitem__)


def fit_linear(data: ArrayDataModule) -> Forecast:
    """Return a linear forecast of each channel from its own window: one ridge regression for all channels.

    The window and the forecast are relative to the last value. At most 20,000 evenly spaced windows of single channels
    are used.
    """
    from sklearn.linear_model import Ridge  # imported on use, because it is slow

    split: Any = data.splits["train"]
    inputs, targets = _few_windows(data, _MAX_ROWS // split.inputs.shape[2])
    ridge = Ridge(solver="cholesky").fit(_rows(inputs - inputs[:, -1:]), _rows(targets - inputs[:, -1:]))
    weights, bias = torch.from_numpy(ridge.coef_), torch.from_numpy(ridge.intercept_)

    def forecast(inputs: Tensor) -> Tensor:
        last = inputs[:, -1:]
        relative = (inputs - last).transpose(1, 2) @ weights.T + bias  # (N, channels, horizon)
        return (relative.transpose(1, 2) + last).contiguous()  # the metrics call view(-1)

    return forecast


def _rows(values: Tensor) -> Any:
    """Return series `(N, steps, channels)` as an array with a row for each channel of each, `(N * channels, steps)`."""
    return values.transpose(1, 2).flatten(0, 1).numpy()
