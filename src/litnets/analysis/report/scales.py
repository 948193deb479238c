"""The numbers at the axes of a chart: limits, ticks, and short texts for them."""

import math
from typing import Any

import numpy as np


def short(value: float, digits: int = 3) -> str:
    """Return a number as text for an axis or a bar, with about `digits` significant digits."""
    if not math.isfinite(value):
        return "–"  # noqa: RUF001
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.{digits - 3}f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def tick_labels(ticks: list[float]) -> list[str]:
    """Return the texts at the ticks of an axis, with as many digits as it takes to tell them apart."""
    labels = [short(tick) for tick in ticks]
    digits = 3
    while len(set(labels)) < len(ticks) and digits < 9:
        digits += 1
        labels = [short(tick, digits) for tick in ticks]
    return labels


def compact(count: int) -> str:
    """Return a count in at most four characters: 987, 1.2k, 35k, 2M."""
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)


def value_range(values: Any, is_log: bool = False) -> tuple[float, float]:
    """Return two different limits that include all finite values."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return (0.1, 1.0) if is_log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if is_log:
        return (low * 0.9, high * 1.1)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        margin = abs(low) * 0.05 or 1.0
        return low - margin, high + margin
    return low, high


def ticks(low: float, high: float, count: int = 5, is_whole: bool = False) -> list[float]:
    """Return round numbers between two limits, about `count` of them; only integers with `is_whole`."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= min((factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count), default=10)
    step = max(step, 1) if is_whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between two limits. If there are fewer than two, return 1, 2 and 5 times powers of ten. If
    these are also too few, return evenly spaced round numbers."""
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(exponents) < 2:
        powers = [10.0**exponent for exponent in range(exponents.start - 1, exponents.stop)]
        between = [factor * power for power in powers for factor in (1, 2, 5) if low <= factor * power <= high]
        if len(between) > 2:
            return between
        return [tick for tick in ticks(low, high, 4) if tick > 0]
    return [10.0**exponent for exponent in exponents[:: max(1, len(exponents) // 5)]]
