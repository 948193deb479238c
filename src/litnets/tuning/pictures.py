"""The picture of a learning-rate range test, as SVG. It needs matplotlib."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from litnets.tuning.learning_rate import Curve, Suggestion

NOTE = "no picture, because matplotlib is not installed: pip install 'litnets[figures]'"


def draw_learning_rates(path: Path, curves: Sequence[Curve], suggestion: Suggestion) -> bool:
    """Draw the loss of each seed against the learning rate, raw and smoothed; return False without matplotlib."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    for curve in curves:
        axes.plot(curve.rates, curve.losses, color="0.85", linewidth=0.7)
        axes.plot(curve.rates, curve.smoothed, linewidth=1.5, label=f"seed {curve.seed}")
    first = max(curve.smoothed[0] for curve in curves)
    lowest = min(value for curve in curves for value in curve.smoothed if math.isfinite(value))
    axes.set_ylim(lowest - 0.1 * (first - lowest or 1), first + 0.5 * (first - lowest or 1))
    if suggestion.rate is not None:
        axes.axvspan(suggestion.low, suggestion.high, color="0.9")
        axes.axvline(
            suggestion.rate, color="black", linewidth=1, linestyle="--", label=f"suggestion {suggestion.rate:g}"
        )
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    figure.savefig(path)
    return True
