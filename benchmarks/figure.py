"""What a benchmark is told, and what it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """What every benchmark is told.

    Args:
        data: Folder with MNIST in torchvision's layout, uncompressed.
        work: Folder for what is thrown away.
        rounds: Rounds of each benchmark; those that start processes make a third of them.
        largest: Pictures in the largest of the growing sets.
        quick: Only whether everything runs; the figures mean nothing then.
    """

    data: Path
    work: Path
    rounds: int
    largest: int
    quick: bool

    @property
    def slow_rounds(self) -> int:
        return max(1, self.rounds // 3)

    def size(self, usual: int, least: int) -> int:
        """`usual`, or `least` where figures mean nothing."""
        return least if self.quick else usual


@dataclass(frozen=True)
class Figure:
    """A row of the table.

    Args:
        name: What is compared with what.
        ratios: The ratio of each round; their median counts.
        asked: The least of it that is asked for, or with `sense: most` the most; None: it is only shown.
        sense: Whether more (`least`) or less (`most`) is better.
    """

    name: str
    ratios: Sequence[float]
    asked: float | None = None
    sense: Literal["least", "most"] = "least"

    @property
    def found(self) -> float:
        return median(self.ratios)

    @property
    def reached(self) -> bool | None:
        """None where nothing is asked for."""
        if self.asked is None:
            return None
        return self.found >= self.asked if self.sense == "least" else self.found <= self.asked


def divided(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def take_turns(rounds: int, **runs: Callable[[], float]) -> dict[str, list[float]]:
    """What each run gives in each round, in which they are called one after the other. A first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            value = run()
            if number:
                found[name].append(value)
    return found
