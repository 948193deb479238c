"""Calibrate the best checkpoint of a run by what it predicted for the validation split.

    results = calibrate(run)    # after a test

A pure function of the run folder: neither the network nor the data are needed.
"""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import compress
from typing import Any

import numpy as np
from scipy.stats import binomtest

from litnets.analysis.calibrated_run import Calibration, fingerprint
from litnets.analysis.calibration import (
    COVERAGE_PERCENT,
    MIN_SAMPLES,
    Array,
    coverage_quantile,
    fit_temperature,
    prediction_sets,
    score_probabilities,
    set_scores,
)
from litnets.analysis.finished_run import FinishedRun
from litnets.analysis.significance import diebold_mariano
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions, join_set, to_probabilities
from litnets.safety.checkpoint_file import load_verified

_ROUNDING = 1e-6  # of the float32 probabilities that predictions are compared with


class NotCalibrated(Exception):  # noqa: N818  (nothing is wrong)
    """A run cannot be calibrated; the message says why."""


def calibrate(run: Run) -> dict[str, Any] | None:
    """Write calibration.json, and add what is calibrated to the recorded predictions.

    Returns:
        The entry `calibration` of results.json: how well the calibration does on the test split. None if the recorded
        predictions are neither logits nor numbers, such as those of a segmentation.

    Raises:
        NotCalibrated: There are no validation predictions, or they do not suffice.
        InputError: A file is damaged or cannot be written.
    """
    run.calibration.unlink(missing_ok=True)  # of an earlier test
    paths = [run.recorded_predictions(part) for part in ("val", "test")]
    if not run.best.exists() or not all(path.exists() for path in paths):
        raise NotCalibrated("there are no validation predictions of a best checkpoint")
    val, test = (RecordedPredictions.load(path) for path in paths)
    if val.columns("logit"):
        calibrate_task = _calibrate_classes
    elif "class_names" not in val.description and val.columns("target") and val.columns("prediction"):
        calibrate_task = _calibrate_numbers
    else:
        return None
    if FinishedRun.load(run).config.get("model.init_args.class_prior") not in (None, "data"):
        raise NotCalibrated("class_prior differs from the class frequencies of the validation split")
    entries, results = calibrate_task(val, test)
    for record, path in zip((val, test), paths, strict=True):
        record.save(path)
    weights = fingerprint(load_verified(run.best, mmap=True)["state_dict"])
    run.write_json(run.calibration, asdict(Calibration(weights, coverage=COVERAGE_PERCENT / 100, **entries)))
    return results


def _calibrate_classes(val: RecordedPredictions, test: RecordedPredictions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add calibrated probabilities to the records, and prediction sets to that of the test split.

    Returns:
        The entries of calibration.json, and the results.
    """
    multilabel = bool(val.description.get("multilabel"))
    counted = _without_ignored(val)
    logits, targets = counted.values("logit"), counted.class_indices("target")
    assert logits is not None
    _check(logits, test.values("logit"))
    temperature = fit_temperature(logits, targets, multilabel)
    quantile = coverage_quantile(set_scores(to_probabilities(logits, multilabel, temperature), targets, multilabel))
    assert quantile is not None  # there are enough samples
    threshold = max(0.0, 1 - float(quantile) - _ROUNDING)
    for record in (val, test):
        record.description["temperature"] = temperature
        probabilities = record.probabilities()
        assert probabilities is not None
        if not multilabel:
            predicted = record.class_indices("prediction")
            _set_columns(
                record, {"probability": probabilities[np.arange(len(predicted)), predicted].astype(np.float32)}
            )
        if record is test:
            sets = prediction_sets(probabilities, threshold, multilabel)
            _set_columns(test, {"set": [join_set(compress(test.names, row)) for row in sets.tolist()]})
    entries = {"samples": len(logits), "temperature": temperature, "set_threshold": threshold}
    return entries, _results_of_classes(_without_ignored(test), temperature, threshold)


def _results_of_classes(test: RecordedPredictions, temperature: float, threshold: float) -> dict[str, Any]:
    """Return the scores of the test split before and after the calibration, and how many targets the sets cover."""
    multilabel = bool(test.description.get("multilabel"))
    logits, targets = test.values("logit"), test.class_indices("target")
    assert logits is not None
    sets = prediction_sets(to_probabilities(logits, multilabel, temperature), threshold, multilabel)
    covered = (sets | (targets == 0)).all(1) if multilabel else sets[np.arange(len(sets)), targets]
    return {
        "temperature": temperature,
        "before": score_probabilities(logits, targets, multilabel),
        "after": score_probabilities(logits, targets, multilabel, temperature),
        **_coverage(covered.astype(float)),
        "mean_set_size": float(sets.sum(1).mean()),
    }


def _without_ignored(record: RecordedPredictions) -> RecordedPredictions:
    """Return the samples that count in the loss."""
    if "loss_weight" not in record.frame.columns:
        return record
    return RecordedPredictions(record.frame.filter(record.frame["loss_weight"] > 0), record.description)


def _calibrate_numbers(val: RecordedPredictions, test: RecordedPredictions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add prediction intervals to the record of the test split.

    Returns:
        The entries of calibration.json, and the results.
    """
    errors, test_errors = _absolute_errors(val), _absolute_errors(test)
    _check(errors, test_errors)
    half_widths = coverage_quantile(errors)
    assert half_widths is not None  # there are enough samples
    samples = len(test.frame) // (len(half_widths) if half_widths.ndim == 2 else 1)
    by_row = np.tile(half_widths.reshape(-1, half_widths.shape[-1]), (samples, 1))  # (rows, targets)
    bounds = {}
    for name, half_width in zip(test.columns("prediction"), by_row.T, strict=True):
        values = test.frame[name].to_numpy()
        bounds[name.replace("prediction", "lower", 1)] = (values - half_width).astype(values.dtype)
        bounds[name.replace("prediction", "upper", 1)] = (values + half_width).astype(values.dtype)
    _set_columns(test, bounds)
    covered = test_errors <= half_widths
    steps = len(half_widths) if half_widths.ndim == 2 else 1
    results = _coverage(covered.reshape(len(covered), -1).mean(1), steps)
    return {"samples": len(errors), "half_widths": half_widths.tolist()}, results


def _absolute_errors(record: RecordedPredictions) -> Array:
    """Return the size of the errors, `(N, targets)`, or `(N, steps, channels)` of forecasts."""
    targets, predictions = record.values("target"), record.values("prediction")
    assert targets is not None
    assert predictions is not None
    errors = np.abs(targets - predictions)
    if "step" not in record.frame.columns:
        return errors
    steps = int(record.frame["step"].to_numpy().max())
    return errors.reshape(-1, steps, errors.shape[1])


def _check(val: Array, test: Array | None) -> None:
    """Raise NotCalibrated if there are too few validation samples, or predictions that are not finite."""
    if len(val) < MIN_SAMPLES:
        raise NotCalibrated(f"needs at least {MIN_SAMPLES} validation samples, but there are {len(val)}")
    if not np.isfinite(val).all() or test is None or not np.isfinite(test).all():
        raise NotCalibrated("some predictions are not finite")


def _coverage(covered: Array, steps: int = 1) -> dict[str, Any]:
    """Return the fraction of the test targets that the sets or intervals cover, and its 95% confidence interval.

    Args:
        covered: The covered fraction of each sample, `(N,)`; for forecasts, of each window, in order.
        steps: Steps of a forecast. The windows share steps, so they are not independent.
    """
    mean = float(covered.mean())
    if steps == 1 and np.isin(covered, (0, 1)).all():
        exact = binomtest(int(covered.sum()), len(covered)).proportion_ci()
        low, high = exact.low, exact.high
    else:
        low, high = diebold_mariano(covered, steps)[1]  # of the mean of a series
    return {"coverage": mean, "coverage_interval": [max(0.0, float(low)), min(1.0, float(high))]}


def _set_columns(record: RecordedPredictions, columns: Mapping[str, Any]) -> None:
    """Add columns of numbers or texts to a record, or replace them."""
    import polars as pl

    record.frame = record.frame.with_columns(pl.Series(name, values) for name, values in columns.items())
