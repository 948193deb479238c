"""Whether a difference between two networks, or between two recipes, is more than noise.

Two networks that were tested on the same samples are compared sample by sample: by `mcnemar` for right and wrong
answers, by `bootstrap_mean` for errors, by `diebold_mariano` for the errors of forecasts. This says nothing about
another training with the same settings. Two recipes are compared by the scores of several trainings each, which differ
in their seed: by `compare_seeds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from litnets.errors import InputError

LEVEL = 0.05  # a verdict is wrong this often if there is no difference
POWER = 0.8  # how often the suggested number of seeds finds the difference that was seen
_MAX_SEEDS = 1000


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Return the p-value of the exact two-sided McNemar test that two classifiers are right equally often.

    Only samples that one of them answers correctly and the other does not say anything about the difference. Without a
    difference, each of these samples is equally likely to favor either classifier (McNemar 1947).

    Args:
        correct_a: Whether the first classifier answers each sample correctly, `(N,)`.
        correct_b: The same for the second classifier and the same samples.
    """
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def bootstrap_mean(values: NDArray[np.float64], resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: One number for each of independent samples, such as the difference of two losses, `(N,)`.
        resamples: How often the samples are drawn again.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def diebold_mariano(differences: NDArray[np.float64], horizon: int) -> tuple[float, tuple[float, float]]:
    """Test whether two forecasts are equally good (Diebold and Mariano 1995).

    The errors of successive windows depend on each other, because the windows share steps: the variance of the mean
    takes their covariances into account, up to `horizon - 1` windows apart, with the correction for short series of
    Harvey, Leybourne and Newbold (1997).

    Args:
        differences: Difference of the two errors of each window, in the order of time, `(N,)`.
        horizon: Steps of a window.

    Returns:
        The two-sided p-value, and the 95 % confidence interval of the mean difference.
    """
    count = len(differences)
    horizon = min(horizon, count)
    mean = float(differences.mean())
    centered = differences - mean
    covariances = np.array([centered[lag:] @ centered[: count - lag] / count for lag in range(horizon)])
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:  # of a sum with equal weights; Bartlett's weights keep it above zero
        variance = covariances[0] + 2 * (1 - np.arange(1, horizon) / horizon) @ covariances[1:]
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    if variance <= 0 or correction <= 0:  # equal forecasts, or fewer windows than steps
        return 1.0, (-np.inf, np.inf) if variance > 0 else (mean, mean)
    error = float(np.sqrt(variance / count / correction))
    width = float(stats.t.isf(LEVEL / 2, count - 1)) * error
    return float(2 * stats.t.sf(abs(mean) / error, count - 1)), (mean - width, mean + width)


@dataclass(frozen=True)
class SeedComparison:
    """The comparison of two recipes by the scores of their seeds.

    Args:
        difference: Mean score of the second recipe minus that of the first.
        interval: 95 % confidence interval of the difference.
        p_value: How likely a difference at least as large is if the recipes are equal.
        seeds_needed: Seeds of each recipe that would show such a difference with a probability of 80 %; None if more
            than a thousand.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    seeds_needed: int | None

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than noise."""
        return self.p_value < LEVEL


def compare_seeds(scores_a: Sequence[float], scores_b: Sequence[float]) -> SeedComparison:
    """Compare two recipes by Welch's t-test, which allows for different variances (Welch 1947).

    Args:
        scores_a: Test scores of the first recipe, one for each seed.
        scores_b: Test scores of the second recipe.

    Raises:
        InputError: A recipe has fewer than two seeds, so that its noise is unknown.
    """
    if min(len(scores_a), len(scores_b)) < 2:
        raise InputError("comparing recipes needs at least two seeds of each: run `fit` again with --seed_everything")
    a, b = np.asarray(scores_a, float), np.asarray(scores_b, float)
    difference, noise = float(b.mean() - a.mean()), float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    if noise == 0:  # Welch's statistic is 0 / 0 or infinite
        return SeedComparison(difference, (difference, difference), 1.0 if difference == 0 else 0.0, None)
    test = stats.ttest_ind(b, a, equal_var=False)
    interval = test.confidence_interval(1 - LEVEL)
    return SeedComparison(
        difference, (float(interval.low), float(interval.high)), float(test.pvalue), seeds_needed(difference / noise)
    )


def seeds_needed(effect: float) -> int | None:
    """Return how many seeds of each of two recipes show a difference with a probability of 80 %.

    The power of a two-sided t-test comes from the noncentral t distribution (Cohen 1988).

    Args:
        effect: The difference, divided by the standard deviation between seeds.

    Returns:
        The number of seeds; None if it is above a thousand.
    """
    seeds = np.arange(2, _MAX_SEEDS + 1)
    freedom, shift = 2 * seeds - 2, abs(effect) * np.sqrt(seeds / 2)
    critical = stats.t.isf(LEVEL / 2, freedom)
    power = stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)
    enough = np.flatnonzero(power >= POWER)
    return int(seeds[enough[0]]) if len(enough) else None
