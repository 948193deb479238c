"""Pictures of a search and of a learning-rate range test, as SVG. They need matplotlib."""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litnets.tuning.learning_rate import Curve, Suggestion
from litnets.tuning.search import Settings
from litnets.tuning.trials import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTE = "no pictures, because matplotlib is not installed: pip install 'litnets[figures]'"


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_search(folder: Path, settings: Settings, trials: Sequence[Trial], results: Mapping[str, Any]) -> list[str]:
    """Draw the history of a search, the scores against each parameter, and the importance of the parameters.

    Returns:
        The names of the files in the folder; none without matplotlib, or without a score.
    """
    scored = [trial for trial in trials if trial.scores]
    if not can_draw() or not scored:
        return []
    names = ["history.svg", "parameters.svg"]
    _draw_history(folder / names[0], settings, scored)
    _draw_parameters(folder / names[1], settings, scored)
    if results["importance"]:
        names.append("importance.svg")
        _draw_importance(folder / names[2], results)
    return names


def draw_learning_rates(path: Path, curves: Sequence[Curve], suggestion: Suggestion) -> bool:
    """Draw the loss of each seed against the learning rate, raw and smoothed; return False without matplotlib."""
    if not can_draw():
        return False
    figure, (axes,) = _figure(6, 3.5)
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


def _figure(width: float, height: float, columns: int = 1) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _draw_history(path: Path, settings: Settings, trials: Sequence[Trial]) -> None:
    """Draw the scores in the order in which the trials started, and the best so far of those trained to the end."""
    figure, (axes,) = _figure(6, 3.5)
    _scatter(axes, settings, trials, [trial.number for trial in trials])
    finished = [trial for trial in trials if settings.rungs[-1] in trial.scores]
    best = None
    line = []
    for trial in finished:
        score = trial.scores[settings.rungs[-1]]
        best = score if best is None or settings.rank(score) > settings.rank(best) else best
        line.append((trial.number, best))
    if line:
        axes.step(*zip(*line, strict=True), where="post", color="black", linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(settings.monitor)
    axes.legend(title="epochs", frameon=False)
    figure.savefig(path)


def _draw_parameters(path: Path, settings: Settings, trials: Sequence[Trial]) -> None:
    """Draw the scores of the trials against the values of each parameter."""
    figure, all_axes = _figure(2.6 * len(settings.space) + 0.6, 3, len(settings.space))
    for axes, parameter in zip(all_axes, settings.space, strict=True):
        values = [trial.params[parameter.name] for trial in trials]
        if parameter.values:
            values = [parameter.values.index(value) for value in values]
            axes.set_xticks(range(len(parameter.values)), parameter.values, rotation=30)
        elif parameter.is_log:
            axes.set_xscale("log")
        _scatter(axes, settings, trials, values)
        axes.set_xlabel(parameter.name)
    all_axes[0].set_ylabel(settings.monitor)
    all_axes[0].legend(title="epochs", frameon=False)
    figure.savefig(path)


def _scatter(axes: "Axes", settings: Settings, trials: Sequence[Trial], x: Sequence[float]) -> None:
    """Draw the last score of each trial, with a color for the rung that it has reached."""
    for index, rung in enumerate(settings.rungs):
        reached = [(at, trial.scores[rung]) for at, trial in zip(x, trials, strict=True) if max(trial.scores) == rung]
        if reached:
            xs, ys = zip(*reached, strict=True)
            axes.scatter(xs, ys, s=18, color=f"C{index}", label=str(rung))


def _draw_importance(path: Path, results: Mapping[str, Any]) -> None:
    importance = results["importance"]
    figure, (axes,) = _figure(6, 0.6 + 0.35 * len(importance))
    axes.barh(list(importance)[::-1], list(importance.values())[::-1])
    count, epochs = results["importance_trials"], results["importance_epochs"]
    axes.set_xlabel(f"fraction of the variance of {results['monitor']} ({count} trials after {epochs} epochs)")
    figure.savefig(path)
