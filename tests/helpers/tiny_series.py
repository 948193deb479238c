"""Tiny time series in the real on-disk formats."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from litnets.data import ETTh1

ETT_CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def waves(steps: int, channels: int, seed: int = 0) -> NDArray[np.float64]:
    """Return noisy waves with a period of 24 steps, `(steps, channels)`; each channel has its own amplitude."""
    random = np.random.default_rng(seed)
    time, channel = np.arange(steps)[:, None], np.arange(channels)
    values = (channel + 1) * np.sin(2 * np.pi * time / 24 + channel) + 0.01 * time + 5 * channel
    return values + 0.1 * random.normal(size=(steps, channels))


def write_series(path: Path, values: NDArray[np.float64], names: Sequence[str], time: str | None = "date") -> None:
    """Write a CSV file in the format of ETTh1: the hour (omitted if `time` is None), then the channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = datetime(2016, 7, 1)
    lines = [",".join([*([time] if time else []), *names])]
    for hour, row in enumerate(values.tolist()):
        lines.append(",".join([*([str(start + timedelta(hours=hour))] if time else []), *map(repr, row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_ett(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    cls: type[ETTh1] = ETTh1,
    ends: tuple[int, int, int] = (600, 800, 1000),
) -> NDArray[np.float64]:
    """Write a tiny ETT file, with some steps after the test split like the real one, and return its values."""
    path = folder / "ETT-small" / f"{cls.__name__}.csv"
    values = waves(ends[-1] + 50, len(ETT_CHANNELS))
    write_series(path, values, ETT_CHANNELS)
    monkeypatch.setattr(cls, "md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cls, "ends", ends)
    return values


def write_series_folder(root: Path, each: int = 12) -> list[tuple[NDArray[np.float64], str]]:
    """Write slow and fast waves of 5 to 16 steps and two channels.

    Returns:
        Each series and its class, in the order in which a DataModule reads them.
    """
    random = np.random.default_rng(0)
    series = []
    for name, speed in (("fast", 2.0), ("slow", 0.5)):
        for number in range(each):
            steps = np.arange(random.integers(5, 17))[:, None]
            values = np.concatenate([np.sin(speed * steps), 100 + steps], 1) + random.normal(size=(len(steps), 2)) / 10
            write_series(root / name / f"{number:02}.csv", values, ("x", "y"), time=None)
            series.append((values, name))
    return series
