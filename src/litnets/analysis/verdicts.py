"""Say in words how good settings are, and whether the differences between them are more than noise."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from litnets.analysis.compare import NetworkComparison, Setting, compare_networks, compare_settings, score_interval
from litnets.analysis.finished_run import is_lower_better
from litnets.analysis.significance import SeedComparison
from litnets.errors import InputError


@dataclass(frozen=True)
class Verdict:
    """Whether the best setting is better than another one.

    Args:
        other: Label of the other setting.
        text: The verdict in words.
        comparison: The numbers; None if the two cannot be compared, for the reason in `text`.
    """

    other: str
    text: str
    comparison: NetworkComparison | SeedComparison | None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for a JSON file."""
        assert self.comparison is not None
        of = "networks" if isinstance(self.comparison, NetworkComparison) else "settings"
        return {"a": "A", "b": self.other, "of": of, **asdict(self.comparison)}


@dataclass(frozen=True)
class Judgement:
    """The comparisons of the best setting with all others.

    Args:
        question: What was asked, and how it was tested.
        verdicts: The answers.
    """

    question: str
    verdicts: Sequence[Verdict]


def judge(settings: Sequence[Setting], metric: str) -> Judgement:
    """Compare the first setting with each other one.

    If every setting has several runs, their scores are compared; otherwise the first network of each setting.
    """
    first, *others = settings
    if not others:
        return Judgement("The runs differ only in their seed: their spread shows the noise of training.", [])
    if all(len(setting.runs) > 1 for setting in settings):
        compared = compare_settings(settings, metric)
        return Judgement(
            f"Settings, compared over their seeds (Welch's t-test of test {metric}; would other seeds agree?)",
            [Verdict(other.label, _describe_settings(other, result, metric), result) for other, result in compared],
        )
    return Judgement(
        "Networks, compared on their test samples (for the noise of training, add runs with other seeds)",
        [_compare_first_networks(first, other) for other in others],
    )


def _compare_first_networks(first: Setting, other: Setting) -> Verdict:
    try:
        result = compare_networks(first.runs[0], other.runs[0])
    except InputError as error:
        return Verdict(other.label, f"A and {other.label}: {error}", None)
    return Verdict(other.label, _describe_networks(other.label, result), result)


def _describe_settings(other: Setting, result: SeedComparison, metric: str) -> str:
    low, high = result.interval
    numbers = f"{metric} {result.difference:+.4f} [{low:+.4f}, {high:+.4f}], p = {result.p_value:.2g}"
    if result.is_significant:
        b_is_better = (result.difference < 0) == is_lower_better(metric)
        return f"{other.label if b_is_better else 'A'} is better: {other.label} - A: {numbers}"
    seeds = "more than 1,000" if result.seeds_needed is None else f"about {result.seeds_needed:,}"
    return f"A and {other.label}: cannot tell ({seeds} seeds of each needed): {other.label} - A: {numbers}"


def _describe_networks(label: str, result: NetworkComparison) -> str:
    low, high = result.interval
    b_is_better = (result.difference < 0) == (result.measure == "squared error")
    verdict = f"{label if b_is_better else 'A'} is better" if result.is_significant else f"A and {label}: cannot tell"
    test = "" if result.p_value is None else f", {result.test} p = {result.p_value:.2g}"
    return (
        f"{verdict}: {label} - A on {result.samples:,} samples: {result.measure} {result.difference:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]{test}"
    )


def describe_scores(setting: Setting, metric: str) -> str:
    """Return the mean of the test scores, ± standard deviation; of a single run, its score and 95% interval."""
    text = mean_and_deviation(setting.scores(metric))
    interval = score_interval(setting.runs[0], metric) if len(setting.runs) == 1 else None
    return text if interval is None else f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]"


def mean_and_deviation(scores: Sequence[float]) -> str:
    """Return the mean, with the standard deviation if there are several scores; "" without any."""
    if not scores:
        return ""
    mean = f"{statistics.mean(scores):.4f}"
    return mean if len(scores) == 1 else f"{mean} ± {statistics.stdev(scores):.4f}"
