"""The scores of several runs, such as the folds of a cross-validation, with mean, standard deviation and interval."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any, Literal

import numpy as np
from scipy import stats

from litnets.analysis.finished_run import metric_range
from litnets.analysis.significance import LEVEL
from litnets.data.core.split_record import SplitRecord
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.metrics import read_metrics

Part = Literal["test", "val"]


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation and 95% confidence interval of the mean."""

    mean: float
    std: float
    low: float
    high: float


def summarize_scores(
    scores: Sequence[float], test_train_ratio: float = 0.0, limits: tuple[float, float] = (-inf, inf)
) -> Summary:
    """Return mean, standard deviation and interval of the scores of several runs.

    The scores of folds depend on each other, because the folds share training samples. The interval uses the corrected
    variance of Nadeau and Bengio (2003): (1 / J + n_test / n_train) * s^2, for J scores with the variance s^2, in place
    of s^2 / J. It is mean ± t * sqrt(variance), with the quantile t of Student's distribution with J - 1 degrees of
    freedom.

    Args:
        scores: At least two scores.
        test_train_ratio: n_test / n_train. 0 for independent scores, such as those of several seeds.
        limits: The lowest and the highest possible score, at which the interval is cut off.

    Example:
        >>> summarize_scores([0.9, 0.94, 0.92], 0.5)
        Summary(mean=0.92, std=0.02, low=0.841..., high=0.998...)
    """
    mean, std = statistics.fmean(scores), statistics.stdev(scores)
    error = std * sqrt(1 / len(scores) + test_train_ratio)
    width = float(stats.t.isf(LEVEL / 2, len(scores) - 1)) * error
    return Summary(mean, std, max(mean - width, limits[0]), min(mean + width, limits[1]))


@dataclass(frozen=True)
class ScoreTable:
    """The scores of several runs.

    Args:
        scores: The scores of each run by metric, by the name of the run.
        test_train_ratio: See `summarize_scores`; None for no interval.
    """

    scores: Mapping[str, Mapping[str, float]]
    test_train_ratio: float | None = 0.0

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have."""
        first, *others = self.scores.values()
        return [name for name in first if all(name in other for other in others)]

    def summary(self, metric: str) -> Summary | None:
        """Return the summary of a metric; None if a score is NaN or infinite."""
        values = [scores[metric] for scores in self.scores.values()]
        if not all(map(isfinite, values)):
            return None
        return summarize_scores(values, self.test_train_ratio or 0.0, metric_range(metric))

    def rows(self) -> list[tuple[str, list[float | None]]]:
        """Return the name and the values of each row: one per run, then mean, standard deviation and interval."""
        shown = [("mean", "mean"), ("standard deviation", "std")]
        if self.test_train_ratio is not None:
            shown += [("95% from", "low"), ("95% to", "high")]
        metrics = self.metrics
        rows: list[tuple[str, list[float | None]]] = [
            (name, [scores[metric] for metric in metrics]) for name, scores in self.scores.items()
        ]
        summaries = [self.summary(metric) for metric in metrics]
        for name, field in shown:
            rows.append((name, [None if summary is None else getattr(summary, field) for summary in summaries]))
        return rows

    def to_csv(self) -> str:
        """Return the table as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", *self.metrics])
        for name, values in self.rows():
            writer.writerow([name, *("" if value is None else repr(value) for value in values)])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return the table as an object for JSON."""
        return {
            "runs": {name: dict(scores) for name, scores in self.scores.items()},
            "summary": {metric: self._summary_dict(metric) for metric in self.metrics},
            "test_train_ratio": self.test_train_ratio,
        }

    def _summary_dict(self, metric: str) -> dict[str, Any] | None:
        summary = self.summary(metric)
        if summary is None:
            return None
        interval = None if self.test_train_ratio is None else [summary.low, summary.high]
        return {"mean": summary.mean, "std": summary.std, "interval": interval}


def held_out_part(runs: Sequence[Run]) -> Part:
    """Return which split the folds of a cross-validation are: `val` if all runs have the same test split."""
    tests = [_test_samples(run) for run in runs]
    return "val" if any(test is None or np.array_equal(test, tests[0]) for test in tests[1:]) else "test"


def _test_samples(run: Run) -> Any:
    if not run.split.exists():  # data that are always split in the same way
        return None
    record = SplitRecord.load(run.split)
    return np.sort(record.order[sum(record.sizes[:2]) : sum(record.sizes)])


def mean_test_train_ratio(runs: Sequence[Run], part: Part) -> float:
    """Return the mean of n_test / n_train over the folds, for `summarize_scores`.

    n_test is the number of samples in a fold. If the folds are test splits, n_train includes the validation split,
    which a run uses to choose its epoch.

    Args:
        runs: The folds.
        part: The split that the fold is.
    """
    if not all(run.split.exists() for run in runs):
        return 1 / (len(runs) - 1)
    ratios = []
    for run in runs:
        train, val, test = SplitRecord.load(run.split).sizes
        ratios.append(test / (train + val) if part == "test" else val / train)
    return statistics.fmean(ratios)


def scores_of(run: Run, part: Part) -> dict[str, float]:
    """Return the scores of a run's best checkpoint. A score that is not finite is NaN.

    Args:
        run: A finished run.
        part: `test`, or `val` for the metrics of the best epoch.

    Raises:
        InputError: The run has no scores for this split.
    """
    results = run.read_results()
    if part == "test":
        scores = results.get("test")
    else:
        scores = _validation_scores(run, (results.get("best") or {}).get("epoch"))
    if not scores:
        raise InputError(f"{run.folder} has no {part} metrics")
    return {name: nan if value is None else value for name, value in scores.items()}


def _validation_scores(run: Run, best_epoch: int | None) -> dict[str, float]:
    """Return the validation metrics of an epoch (from 1; None for the last), in the order of the test metrics."""
    scores: dict[str, float] = {}
    for row in read_metrics(run.metrics).iter_rows(named=True):
        values = {
            name.removeprefix("val/"): value
            for name, value in row.items()
            if name.startswith("val/") and value is not None
        }
        if values and (best_epoch is None or row["epoch"] == best_epoch - 1):
            scores = values
    order = [name for name in run.read_results().get("test", {}) if name in scores]
    return {name: scores[name] for name in [*order, *(name for name in scores if name not in order)]}
