"""Test whether a difference between two networks, or between two settings, is more than noise.

Two networks that were tested on the same samples are compared sample by sample: by `mcnemar` for right and wrong
answers, by `bootstrap_mean` for errors, and by `diebold_mariano` for the errors of forecasts. The result holds for
these two networks only: another seed may give another result. `compare_seeds` compares two settings by the scores of
several runs each, which differ in their seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from litnets.errors import InputError

LEVEL = 0.05  # significance level: how often a difference is reported if there is none
POWER = 0.8  # probability that the suggested number of seeds detects a difference of the observed size
_MAX_SEEDS = 1000


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Return the p-value of the exact two-sided McNemar test of whether two classifiers are equally accurate.

    The test uses only the samples that exactly one classifier answers correctly. If the classifiers are equally
    accurate, each of these samples is equally likely to favor either of them (McNemar 1947).

    Args:
        correct_a: Whether the first classifier answers each sample correctly, `(N,)`.
        correct_b: The same for the second classifier and the same samples.
    """
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def bootstrap_mean(values: NDArray[np.float64], resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: One number per sample, such as the difference of two losses, `(N,)`. The samples are independent.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def diebold_mariano(differences: NDArray[np.float64], horizon: int) -> tuple[float, tuple[float, float]]:
    """Test whether two forecasts are equally good (Diebold and Mariano 1995).

    The errors of successive windows depend on each other, because the windows share steps. The variance of the mean
    therefore includes the covariances of windows that are up to `horizon - 1` apart. The correction by Harvey,
    Leybourne and Newbold (1997) accounts for short series.

    Args:
        differences: Difference of the two errors of each window, in the order of time, `(N,)`.
        horizon: Number of steps that a window forecasts.

    Returns:
        The two-sided p-value, and the 95% confidence interval of the mean difference.
    """
    count = len(differences)
    horizon = min(horizon, count)
    mean = float(differences.mean())
    centered = differences - mean
    covariances = np.array([centered[lag:] @ centered[: count - lag] / count for lag in range(horizon)])
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:  # Equal weights can make the estimate negative; Bartlett weights cannot.
        variance = covariances[0] + 2 * (1 - np.arange(1, horizon) / horizon) @ covariances[1:]
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    if correction <= 0:  # no more windows than steps
        return 1.0, (-np.inf, np.inf)
    if variance <= 0:  # the same difference in every window, such as 0 between equal forecasts
        return (0.0 if mean else 1.0), (mean, mean)
    error = float(np.sqrt(variance / count / correction))
    width = float(stats.t.isf(LEVEL / 2, count - 1)) * error
    return float(2 * stats.t.sf(abs(mean) / error, count - 1)), (mean - width, mean + width)


@dataclass(frozen=True)
class SeedComparison:
    """The comparison of two settings by their scores over several seeds.

    Args:
        difference: Mean score of the second setting minus that of the first.
        interval: 95% confidence interval of the difference.
        p_value: Probability of a difference at least as large if the settings are equally good.
        seeds_needed: Number of seeds of each setting that would detect such a difference with a probability of 80%;
            None if it is above a thousand, or if the scores of neither setting vary.
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
    """Compare two settings by Welch's t-test, which allows for different variances (Welch 1947).

    Args:
        scores_a: Test scores of the first setting, one for each seed.
        scores_b: Test scores of the second setting.

    Raises:
        InputError: A setting has fewer than two seeds, so that its noise is unknown.
    """
    if min(len(scores_a), len(scores_b)) < 2:
        raise InputError("comparing settings needs at least two seeds of each: run `fit` again with --seed_everything")
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
    """Return how many seeds of each of two settings detect a difference with a probability of 80%.

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
