"""Measure how many targets the prediction sets and intervals cover, over 50 splits into validation and test samples.

    python -m benchmarks.coverage

It takes a minute. One network each is trained on classes, labels and numbers. Its predictions for all samples that it
was not trained on are then split 50 times at random, and the run is calibrated with each validation part. On average,
at least 90% of the test targets should be covered, up to twice the standard error of that average. The exit code is 1
if fewer are.

The forecasts are those of 50 simulated series. The validation part of a series precedes the test part, and its windows
share steps, so the guarantee does not hold exactly.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import litnets
from litnets.analysis.calibrate import calibrate
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions

SPLITS = 50
SAMPLES = 1500
HORIZON = 6
SIZES: dict[str, Any] = {"val_size": 0.3, "test_size": 0.3}


def fit(model: Any, data: Any, max_epochs: int) -> Run:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return Run(litnets.fit(model, data, max_epochs=max_epochs, **quiet).folder)


def classes() -> Run:
    """Train a classifier for so short a time that it is wrong on more than a tenth of the digits."""
    return fit(litnets.MLPClassifier, litnets.Digits(batch_size=128, **SIZES), max_epochs=2)


def labels() -> Run:
    """Train a multi-label classifier."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(SAMPLES, 6))
    targets = inputs[:, :4] + generator.normal(0, 0.5, (SAMPLES, 4)) > 0.5
    return fit(litnets.MLPClassifier, litnets.ArrayData(inputs, targets.astype(int), **SIZES), max_epochs=5)


def numbers() -> Run:
    """Train a regression of two targets, whose noise grows with the inputs."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(SAMPLES, 4))
    noise = generator.laplace(0, 0.2 + np.abs(inputs[:, :1]), (SAMPLES, 2))
    targets = inputs[:, :2] ** 2 + inputs[:, 2:] + noise
    return fit(litnets.MLPRegressor, litnets.ArrayData(inputs, targets, **SIZES), max_epochs=5)


def coverages_of_splits(run: Run) -> Iterator[float]:
    """Yield the coverage of the test part for each split."""
    paths = [run.recorded_predictions(part) for part in ("val", "test")]
    records = [RecordedPredictions.load(path) for path in paths]
    frame = pl.concat([record.frame for record in records], how="diagonal")
    for seed in range(SPLITS):
        shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
        half = len(shuffled) // 2
        yield _coverage(run, shuffled[:half], shuffled[half:], records[0].description)


def coverages_of_forecasts(run: Run) -> Iterator[float]:
    """Yield the coverage of the forecasts of each series, by the best forecaster of an autoregressive process."""
    for seed in range(SPLITS):
        noise = np.random.default_rng(seed).normal(size=SAMPLES + HORIZON)
        errors = np.zeros((SAMPLES, HORIZON))  # of a window and step
        for step in range(HORIZON):
            previous = errors[:, step - 1] if step else 0
            errors[:, step] = 0.8 * previous + noise[step : step + SAMPLES]
        val, test = errors[: SAMPLES // 2], errors[SAMPLES // 2 + HORIZON :]
        yield _coverage(run, _frame(val), _frame(test), {"channel_names": ["x"]})


def _frame(windows: NDArray[np.float64]) -> pl.DataFrame:
    """Return the frame of windows whose forecasts have these errors, `(N, steps)`."""
    steps = np.tile(range(1, HORIZON + 1), len(windows))
    return pl.DataFrame({"step": steps, "target_x": windows.ravel(), "prediction_x": np.zeros(windows.size)})


def _coverage(run: Run, val: pl.DataFrame, test: pl.DataFrame, description: dict[str, Any]) -> float:
    for part, frame in (("val", val), ("test", test)):
        RecordedPredictions(frame, dict(description)).save(run.recorded_predictions(part))
    results = calibrate(run)
    assert results is not None
    return float(results["coverage"])


def main() -> int:
    """Print the coverage of each task, and return the exit code."""
    covered = {}
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        for train in (classes, labels, numbers):
            run = train()
            covered[train.__name__] = np.array(list(coverages_of_splits(run)))
        covered["forecasts"] = np.array(list(coverages_of_forecasts(run)))
        os.chdir(Path(__file__).parent)
    print(f"\n{'':10}{'mean':>8}{'error':>8}{'lowest':>8}{'highest':>8}")
    too_few = False
    for name, values in covered.items():
        error = values.std(ddof=1) / np.sqrt(len(values))
        print(f"{name:10}{values.mean():8.4f}{error:8.4f}{values.min():8.4f}{values.max():8.4f}")
        too_few |= values.mean() + 2 * error < 0.9
    return int(too_few)


if __name__ == "__main__":
    sys.exit(main())
