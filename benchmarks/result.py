"""Settings and results of the benchmarks."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """Settings shared by all benchmarks.

    Args:
        data: Folder with MNIST in torchvision's layout, uncompressed.
        work: Folder for temporary files.
        rounds: Rounds per benchmark; slow benchmarks run a third as many.
        largest: Number of images in the largest data set.
        quick: Only check that the benchmarks run; the results are meaningless.
    """

    data: Path
    work: Path
    rounds: int
    largest: int
    quick: bool

    @property
    def slow_rounds(self) -> int:
        return max(1, self.rounds // 3)

    def size(self, usual: int, minimum: int) -> int:
        """Return `usual`, or `minimum` for a quick check."""
        return minimum if self.quick else usual


@dataclass(frozen=True)
class Result:
    """A row of the table.

    Args:
        name: What is compared with what.
        ratios: The ratio of each round; the result is their median.
        target: The bound that the median should meet. None: it is only reported.
        bound: Whether the target is a lower bound (higher is better) or an upper bound (lower is better).
    """

    name: str
    ratios: Sequence[float]
    target: float | None = None
    bound: Literal["lower", "upper"] = "lower"

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def target_met(self) -> bool | None:
        """Whether the median meets the target; None without a target."""
        if self.target is None:
            return None
        return self.median >= self.target if self.bound == "lower" else self.median <= self.target


def divide(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def interleave(rounds: int, **runs: Callable[[], float]) -> dict[str, list[float]]:
    """Call each function once per round, in turn, and return their values, without those of a first warm-up round."""
    values: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            value = run()
            if round_number > 0:
                values[name].append(value)
    return values
