"""Compare runs: what differs between their settings, how good each is, and whether that is more than noise.

Runs that differ only in their seed are runs of one setting. Settings are ordered by their validation score, so that the
test scores are not used to choose.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.finished_run import FinishedRun, choose_metric
from litnets.analysis.pixel_counts import PixelCounts, iou_difference, iou_interval
from litnets.analysis.significance import (
    LEVEL,
    SeedComparison,
    bootstrap_mean,
    compare_seeds,
    diebold_mariano,
    mcnemar,
)
from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions


@dataclass(frozen=True)
class Setting:
    """The runs of one setting.

    Args:
        label: A letter.
        runs: The runs, which differ in their seed.
    """

    label: str
    runs: Sequence[FinishedRun]

    def scores(self, metric: str) -> list[float]:
        """Return each run's test score by a metric."""
        return [run.test[metric] for run in self.runs]

    @property
    def validation_score(self) -> float:
        """Mean validation score, where higher is better; -inf if a run has none."""
        scores = [run.validation_score for run in self.runs]
        return -math.inf if None in scores else statistics.mean(score for score in scores if score is not None)

    def mean(self, name: str) -> float | None:
        """Return the mean over the runs of a number in results.json; None if a run lacks it."""
        values = [run.results.get(name) for run in self.runs]
        return None if None in values else statistics.mean(value for value in values if value is not None)


@dataclass(frozen=True)
class Flip:
    """A test sample that exactly one of two networks answers correctly."""

    sample: str
    target: str
    prediction_a: str
    prediction_b: str


@dataclass(frozen=True)
class NetworkComparison:
    """Two networks on the same test samples.

    Args:
        samples: Number of samples.
        measure: `accuracy` or `squared error`, averaged over the samples, or `iou`, of all pixels.
        difference: The measure of the second network minus that of the first.
        interval: 95% interval of the difference.
        test: Name of the significance test; None if the bootstrap interval decides instead.
        p_value: p-value of the test; None without a test.
        flips: Samples that only one of the two answers correctly.
    """

    samples: int
    measure: str
    difference: float
    interval: tuple[float, float]
    test: str | None
    p_value: float | None
    flips: Sequence[Flip]

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than noise."""
        return self.p_value < LEVEL if self.p_value is not None else self.interval[0] > 0 or self.interval[1] < 0


def main_metric(runs: Sequence[FinishedRun]) -> str:
    """Return the test metric to compare by: of those that all runs have, the one by which the first run is judged.

    Raises:
        InputError: The runs have no metric in common.
    """
    common = [name for name in runs[0].test if all(name in run.test for run in runs)]
    if not common:
        raise InputError("the runs have no test metric in common; compare runs of the same kind of task")
    return choose_metric(common, (runs[0].results.get("best") or {}).get("monitor"))


def group_runs(runs: Iterable[FinishedRun]) -> list[Setting]:
    """Group runs that differ only in their seed into settings, ordered from the best validation score to the worst.

    An option that is None does not differ from one that is absent, as in the runs of an earlier version.
    """
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        options = sorted((name, value) for name, value in run.setting.items() if value is not None)
        groups.setdefault(repr(options), []).append(run)
    ordered = sorted(groups.values(), key=lambda group: -Setting("", group).validation_score)
    return [Setting(_label(index), group) for index, group in enumerate(ordered)]


def differences(settings: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """Return the options in which settings differ, by label and name.

    If a setting uses another class, such as another model, the options that only one of the classes has are left out.
    """
    options = {setting.label: setting.runs[0].setting for setting in settings}
    names = dict.fromkeys(name for values in options.values() for name in values)
    differing = [name for name in names if len({repr(values.get(name)) for values in options.values()}) > 1]
    classes = [name.removesuffix("class_path") for name in differing if name.endswith("class_path")]
    shown = [
        name
        for name in differing
        if not any(name.startswith(f"{prefix}init_args.") and _is_missing(name, options) for prefix in classes)
    ]
    return {label: {name: values[name] for name in shown if name in values} for label, values in options.items()}


def option_name(name: str) -> str:
    """Return the name of an option as on the command line, such as `model.lr` for `model.init_args.lr`."""
    return name.replace(".init_args.", ".").removesuffix(".class_path")


def option_text(value: Any) -> str:
    """Return the value of an option as text, with short names of classes, as in `RandomShift(pixels=1)`."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = [f"{name}={option_text(argument)}" for name, argument in (value.get("init_args") or {}).items()]
        return option_text(value["class_path"]) + (f"({', '.join(arguments)})" if arguments else "")
    if isinstance(value, list):
        return f"[{', '.join(map(option_text, value))}]"
    text = str(value)
    return text.rpartition(".")[2] if text.startswith("litnets.") else text


def compare_networks(a: FinishedRun, b: FinishedRun) -> NetworkComparison:
    """Compare two networks on the same test samples, by their recorded predictions.

    Single-label classifiers are compared by their accuracy, segmentations by their mean IoU, all others by the squared
    error of each sample. Errors are divided by the standard deviation of the targets, if the first run's training
    scaled them.

    Raises:
        InputError: A run has no recorded predictions, or they belong to different samples.
    """
    for run in (a, b):
        if run.predictions is None:
            folder = run.run.folder
            raise InputError(f"{folder} has no test_predictions.parquet; `litnets test {folder}` writes it")
    assert a.predictions is not None
    assert b.predictions is not None
    first, second = a.predictions.frame, b.predictions.frame
    _check_same_samples(a, b)
    correct_a, correct_b = _correct(a.predictions), _correct(b.predictions)
    if correct_a is not None and correct_b is not None:
        interval = bootstrap_mean(correct_b.astype(float) - correct_a)
        flips = [_flip(first, second, int(i)) for i in np.flatnonzero(correct_a != correct_b)]
        gain = float(correct_b.mean() - correct_a.mean())
        return NetworkComparison(
            len(first), "accuracy", gain, interval, "exact McNemar", mcnemar(correct_a, correct_b), flips
        )
    pixels_a, pixels_b = PixelCounts.of(a.predictions), PixelCounts.of(b.predictions)
    if pixels_a is not None and pixels_b is not None:
        gain, interval = iou_difference(pixels_a, pixels_b)
        return NetworkComparison(len(first), "iou", gain, interval, None, None, [])
    scale = a.predictions.description.get("target_std") or a.predictions.description.get("channel_std")
    steps = int(first["step"].to_numpy().max()) if "step" in first.columns else 1
    difference = _squared_error(b.predictions, scale, steps) - _squared_error(a.predictions, scale, steps)
    mean = float(difference.mean())
    if steps == 1:
        return NetworkComparison(len(difference), "squared error", mean, bootstrap_mean(difference), None, None, [])
    p_value, interval = diebold_mariano(difference, steps)
    return NetworkComparison(len(difference), "squared error", mean, interval, "Diebold-Mariano", p_value, [])


def compare_settings(settings: Sequence[Setting], metric: str) -> list[tuple[Setting, SeedComparison]]:
    """Compare the first setting with every other setting by their test scores over several seeds.

    The p-values are corrected for the number of comparisons by Holm's method (Holm 1979).
    """
    first, *others = settings
    compared = [(other, compare_seeds(first.scores(metric), other.scores(metric))) for other in others]
    corrected = holm([comparison.p_value for _, comparison in compared])
    return [(other, replace(one, p_value=p_value)) for (other, one), p_value in zip(compared, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests by Holm's method."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def score_interval(run: FinishedRun, metric: str) -> tuple[float, float] | None:
    """Return the 95% bootstrap interval of the test accuracy or IoU of a network; None for other metrics."""
    if run.predictions is None:
        return None
    if metric == "iou":
        pixels = PixelCounts.of(run.predictions)
        return None if pixels is None else iou_interval(pixels)
    correct = _correct(run.predictions) if metric == "accuracy" else None
    return None if correct is None else bootstrap_mean(correct.astype(float))


def _correct(predictions: RecordedPredictions) -> NDArray[np.bool_] | None:
    """Return whether each prediction of a single-label classifier is correct, `(N,)`; None for other tasks."""
    frame = predictions.frame
    if "class_names" not in predictions.description or "target" not in frame.columns:
        return None
    return (frame["target"] == frame["prediction"]).to_numpy().astype(bool)


def _check_same_samples(a: FinishedRun, b: FinishedRun) -> None:
    assert a.predictions is not None
    assert b.predictions is not None
    first, second = a.predictions.frame, b.predictions.frame
    identifying = [name for name in ("index", "file", "row", "time", "step") if name in first.columns]
    for name in [*identifying, *_targets(first.columns)]:
        if name not in second.columns or not first[name].equals(second[name]):
            reason = f"{a.run.folder} and {b.run.folder} were tested on different samples: their column {name} differs"
            raise InputError(f"{reason}; only their settings can be compared, over several seeds")


def _squared_error(predictions: RecordedPredictions, scale: Sequence[float] | None, steps: int) -> NDArray[np.float64]:
    """Return the mean squared error of each sample (over its targets) or window (over its steps and channels)."""
    frame = predictions.frame
    errors = []
    for index, target in enumerate(_targets(frame.columns)):
        error = (frame[_prediction_of(target)] - frame[target]).to_numpy().astype(float)
        errors.append((error / scale[index] if scale else error) ** 2)
    mean: NDArray[np.float64] = np.mean(errors, axis=0).reshape(-1, steps).mean(1)
    return mean


def _targets(columns: Sequence[str]) -> list[str]:
    """Return the columns of targets. Others may be named like them: those that the data carry, such as `target_id`, and
    `logit_target` of a class named target."""
    return [name for name in columns if name.startswith("target") and _prediction_of(name) in columns]


def _prediction_of(target: str) -> str:
    return target.replace("target", "prediction", 1)


def _flip(first: Any, second: Any, row: int) -> Flip:
    """Return the sample in a row of two frames of recorded predictions."""
    name = next(name for name in ("file", "row", "time", "index") if name in first.columns)
    return Flip(str(first[name][row]), first["target"][row], first["prediction"][row], second["prediction"][row])


def _is_missing(name: str, options: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether at least one setting lacks an option."""
    return any(name not in values for values in options.values())


def _label(index: int) -> str:
    """Return A to Z, then A1 to Z1 and so on."""
    letter = ascii_uppercase[index % 26]
    return letter if index < 26 else f"{letter}{index // 26}"
