"""Measure how often the tests of `litnets compare` report a difference, if there is one and if not.

    python -m benchmarks.significance

It takes two minutes. Each line simulates 2,000 pairs of networks, or of settings. Without a difference, about 5% of
them should be reported as different. With a difference that the test should detect with a probability of 80%, about
80% should be.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from litnets.analysis.significance import (
    LEVEL,
    POWER,
    bootstrap_mean,
    compare_seeds,
    diebold_mariano,
    mcnemar,
    seeds_needed,
)

PAIRS = 2000
SAMPLES = 1000


def classifiers(generator: np.random.Generator, gain: float) -> bool:
    """Simulate two classifiers that agree on 90% of the samples, and return whether the test reports a difference."""
    disagree = generator.random(SAMPLES) < 0.1
    b_is_right = disagree & (generator.random(SAMPLES) < 0.5 + gain / 0.2)
    a_is_right = disagree & ~b_is_right
    both = ~disagree & (generator.random(SAMPLES) < 0.9)
    return mcnemar(a_is_right | both, b_is_right | both) < LEVEL


def errors(generator: np.random.Generator, gain: float) -> bool:
    """Do the same for the difference of two squared errors, with heavy tails."""
    low, high = bootstrap_mean(generator.laplace(gain, 1, SAMPLES), resamples=1000, seed=int(generator.integers(2**31)))
    return low > 0 or high < 0


def windows(generator: np.random.Generator, gain: float, horizon: int = 12) -> bool:
    """Do the same for the windows of a series, whose errors share steps."""
    steps = generator.laplace(gain, 1, SAMPLES + horizon - 1)
    return diebold_mariano(np.convolve(steps, np.ones(horizon) / horizon, "valid"), horizon)[0] < LEVEL


def settings(generator: np.random.Generator, gain: float, seeds: int = 5) -> bool:
    """Do the same for two settings with five seeds each."""
    return (
        compare_seeds(generator.normal(0, 1, seeds).tolist(), generator.normal(gain, 1, seeds).tolist()).p_value < LEVEL
    )


def main() -> None:
    """Print how often each test reports a difference."""
    both_tails = stats.norm.isf(LEVEL / 2) + stats.norm.isf(1 - POWER)  # detected at 80%, in standard errors
    noise = np.sqrt(2) / np.sqrt(SAMPLES)  # standard error of the mean of Laplace samples
    five_seeds = next(effect for effect in np.arange(1, 4, 0.001) if (seeds_needed(effect) or 6) <= 5)
    cases: list[tuple[Callable[[np.random.Generator, float], bool], float]] = [
        (classifiers, both_tails * np.sqrt(0.1 / SAMPLES)),
        (errors, both_tails * noise),
        (windows, both_tails * noise),
        (settings, float(five_seeds)),
    ]
    for test, gain in cases:
        generator = np.random.default_rng(0)
        fractions = [np.mean([test(generator, size) for _ in range(PAIRS)]) for size in (0.0, gain)]
        print(f"{test.__name__:<12} no difference: {fractions[0]:.1%} reported; power 80%: {fractions[1]:.1%}")


if __name__ == "__main__":
    main()
