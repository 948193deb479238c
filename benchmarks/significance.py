"""How often the tests of `litnets compare` give a verdict, without a difference and with one. Takes two minutes.

    python -m benchmarks.significance

Each line simulates 2,000 pairs of networks, or of settings. Without a difference, at most 5 % should get a verdict;
with a difference that the test finds with a probability of 80 %, about 80 % should.
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
    """Two classifiers that agree on 90 % of the samples."""
    disagree = generator.random(SAMPLES) < 0.1
    b_is_right = disagree & (generator.random(SAMPLES) < 0.5 + gain / 0.2)
    a_is_right = disagree & ~b_is_right
    both = ~disagree & (generator.random(SAMPLES) < 0.9)
    return mcnemar(a_is_right | both, b_is_right | both) < LEVEL


def errors(generator: np.random.Generator, gain: float) -> bool:
    """The difference of two squared errors, with heavy tails."""
    low, high = bootstrap_mean(generator.laplace(gain, 1, SAMPLES), resamples=1000, seed=int(generator.integers(2**31)))
    return low > 0 or high < 0


def windows(generator: np.random.Generator, gain: float, horizon: int = 12) -> bool:
    """The same for the windows of a series, whose errors share steps."""
    steps = generator.laplace(gain, 1, SAMPLES + horizon - 1)
    return diebold_mariano(np.convolve(steps, np.ones(horizon) / horizon, "valid"), horizon)[0] < LEVEL


def settings(generator: np.random.Generator, gain: float, seeds: int = 5) -> bool:
    """Two settings with five seeds each."""
    return (
        compare_seeds(generator.normal(0, 1, seeds).tolist(), generator.normal(gain, 1, seeds).tolist()).p_value < LEVEL
    )


def main() -> None:
    """Print the fraction of verdicts of each test."""
    both_tails = stats.norm.isf(LEVEL / 2) + stats.norm.isf(1 - POWER)  # standard errors of a difference found at 80 %
    noise = np.sqrt(2) / np.sqrt(SAMPLES)  # standard error of the mean of Laplace's distribution
    five_seeds = next(effect for effect in np.arange(1, 4, 0.001) if (seeds_needed(effect) or 6) <= 5)
    cases: list[tuple[Callable[[np.random.Generator, float], bool], float]] = [
        (classifiers, both_tails * np.sqrt(0.1 / SAMPLES)),
        (errors, both_tails * noise),
        (windows, both_tails * noise),
        (settings, float(five_seeds)),
    ]
    for test, gain in cases:
        generator = np.random.default_rng(0)
        found = [np.mean([test(generator, size) for _ in range(PAIRS)]) for size in (0.0, gain)]
        print(f"{test.__name__:<12} no difference: {found[0]:.1%} get a verdict; power 80 %: {found[1]:.1%}")


if __name__ == "__main__":
    main()
