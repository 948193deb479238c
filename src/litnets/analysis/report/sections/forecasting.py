"""Forecasting: windows with forecast and truth, and the error of each step beside simple forecasts."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.report.blocks import Block, Figures, Note, Section, Table
from litnets.analysis.report.predictions import ValuePredictions, sample_names
from litnets.analysis.report.scales import value_range
from litnets.analysis.report.svg import Figure, Line, line_chart

_MAX_CHANNELS = 3  # in the figures of windows


def forecasting(values: ValuePredictions, per_channel: Any, baselines: Iterable[str]) -> list[Section]:
    """Build the section about the test predictions of a forecast.

    Args:
        values: The predictions.
        per_channel: The metrics of each channel in results.json.
        baselines: The names in baselines.json.
    """
    series = join_windows(values)
    naive = {} if series is None else naive_errors(values, series, find_baseline_period(baselines))
    blocks: list[Block] = [Figures(_windows(values, series)), Figures([_error_by_step(values, naive)])]
    if series is None:
        blocks.append(
            Note(
                "The recorded windows do not follow each other, so neither the history nor simple forecasts are shown."
            )
        )
    if per_channel:
        names = list(next(iter(per_channel.values())))
        rows = [[name, *row.values()] for name, row in per_channel.items()]
        blocks.append(Table(["channel", *names], rows, "Per channel"))
    return [Section("Forecasts", blocks)]


def join_windows(values: ValuePredictions) -> NDArray[np.float64] | None:
    """Return the series of the test split, `(windows + steps - 1, channels)`; None unless each window follows the last.

    Window `i` forecasts the steps `i` to `i + steps - 1` of it.
    """
    targets, steps = values.targets, values.steps
    index = values.recorded.frame["index"].to_numpy()[::steps]
    if len(targets) < 2 or not (np.diff(index) == 1).all():
        return None
    if not np.array_equal(targets[1:, :-1], targets[:-1, 1:], equal_nan=True):
        return None
    return np.concatenate([targets[:, 0], targets[-1, 1:]])


def _windows(values: ValuePredictions, series: NDArray[np.float64] | None) -> list[Figure]:
    """Return figures of the windows with the smallest, the median and the largest error."""
    steps = values.steps
    errors = (values.errors**2).mean((1, 2))
    order = np.argsort(errors, kind="stable")
    chosen = {"largest error": order[-1], "median error": order[len(order) // 2], "smallest error": order[0]}
    starts = sample_names(values.recorded)[::steps]
    variance = values.errors.mean(0).var(0) + (values.errors**2).mean((0, 1))
    channels = np.sort(np.argsort(-variance, kind="stable")[:_MAX_CHANNELS])
    figures = []
    for title, window in chosen.items():
        for channel in channels.tolist():
            lines = []
            history = 0 if series is None else min(window, steps)
            if series is not None and history:
                past = series[window - history : window, channel]
                lines.append(Line("history", np.arange(1 - history, 1), past, "line", 7))
            ahead = np.arange(1, steps + 1)
            lines.append(Line("truth", ahead, values.targets[window, :, channel], "line", 2))
            lines.append(Line("forecast", ahead, values.predictions[window, :, channel], "line", 0))
            name = values.names[channel]
            caption = f"First step: {starts[window]}. MSE of the window: {errors[window]:.4f}."
            figures.append(
                line_chart(f"{name}, {title}", lines, "step", name, caption=caption, counts_x=True, mark=0.5)
            )
    return figures


def _error_by_step(values: ValuePredictions, naive: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Return the figure of the error of each step: of the network, and of simple forecasts from the same past."""
    ahead = np.arange(1, values.steps + 1)
    lines = [Line("network", ahead, (values.errors**2).mean((0, 2)))]
    lines += [Line(name, ahead, error, "dashed") for name, error in naive.items()]
    caption = "On standardized values, averaged over windows and channels."
    return line_chart(
        "Error by step",
        lines,
        "step",
        "mean squared error",
        caption=caption,
        counts_x=True,
        y_range=_from_zero(lines),
    )


def _from_zero(lines: list[Line]) -> tuple[float, float]:
    _, high = value_range(np.concatenate([np.append(line.y, 0) for line in lines]))
    return 0.0, max(high, 1e-12) * 1.05


def find_baseline_period(baselines: Iterable[str]) -> int | None:
    """Return the period of the seasonal baseline, which was chosen on the training split; None without one.

    Args:
        baselines: The names in baselines.json, such as `last 24 steps`.
    """
    matches = (re.fullmatch(r"last ([1-9]\d{0,6}) steps", name) for name in baselines)
    return next((int(match[1]) for match in matches if match), None)


def naive_errors(
    values: ValuePredictions, series: NDArray[np.float64], period: int | None
) -> Mapping[str, NDArray[np.float64]]:
    """Return the error of each step of forecasts that repeat the last value or the last period, by their name.

    The error is the mean over all windows whose past is in the test split.

    Args:
        values: The predictions.
        series: The series of the test split.
        period: The period to repeat; None for the last value alone.
    """
    scaled = series / values.std
    names = {1: "last value"} if period is None else {1: "last value", period: f"last {period} steps"}
    errors = {name: _repeat_error(scaled, steps, values.steps) for steps, name in names.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _repeat_error(scaled: NDArray[np.float64], period: int, steps: int) -> NDArray[np.float64] | None:
    """Return the mean squared error of each step if the last period is repeated; None if the series is too short."""
    starts = np.arange(period, len(scaled) - steps + 1)
    if len(starts) < 2:
        return None
    errors = []
    for step in range(steps):
        past = starts - period + step % period
        errors.append(float(((scaled[starts + step] - scaled[past]) ** 2).mean()))
    return np.array(errors)
