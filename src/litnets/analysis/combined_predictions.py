"""Combine the recorded predictions of several runs: one file for all folds, or the ensemble of the networks.

predictions = [RecordedPredictions.load(run.recorded_predictions("test")) for run in runs]
scores = prediction_scores(average_predictions(predictions))
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions, to_probabilities

Values = NDArray[np.float64]

_TOLERANCE = 1e-4  # accepted between a reported test metric and the one computed from the recorded predictions


def concatenate_predictions(runs: Mapping[str, RecordedPredictions]) -> RecordedPredictions:
    """Return the predictions of all runs, with the name of the run in the first column.

    The temperature of a calibrated run is in the column `temperature`, and the logits are divided by it. Columns of the
    data with these names are renamed to `id_run` and `id_temperature`.

    Args:
        runs: The recorded predictions by the name of the run.
    """
    frames = [_with_scaled_logits(one).select(pl.lit(name).alias("run"), pl.all()) for name, one in runs.items()]
    first, *others = ({**one.description} for one in runs.values())
    for description in (first, *others):
        description.pop("temperature", None)
    common = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    counts = {key: sum(one.get(key, 0) for one in (first, *others)) for key in ("samples", "recorded")}
    return RecordedPredictions(pl.concat(frames, how="diagonal_relaxed"), common | counts)


def _with_scaled_logits(predictions: RecordedPredictions) -> pl.DataFrame:
    frame = predictions.frame.rename({name: f"id_{name}" for name in ("run", "temperature")}, strict=False)
    temperature = predictions.description.get("temperature")
    if temperature is None:
        return frame
    return frame.with_columns(
        *(pl.col(name) / temperature for name in predictions.columns("logit")), pl.lit(temperature).alias("temperature")
    )


def average_predictions(runs: Sequence[RecordedPredictions]) -> RecordedPredictions:
    """Return the predictions of the ensemble, with the columns that identify the samples and their targets.

    A classification averages the probabilities of classes or labels, a regression or a forecast the predicted values.

    Args:
        runs: The recorded predictions of at least one run.

    Raises:
        InputError: The runs were tested on different samples, or did not record outputs for all of them.
    """
    first = runs[0]
    keys = [name for name in first.frame.columns if _is_key(name)]
    for other in runs:
        if other.description.get("recorded") != other.description.get("samples"):
            raise InputError("not all predictions were recorded")
        if not all(name in other.frame.columns for name in keys) or not other.frame[keys].equals(first.frame[keys]):
            raise InputError("the runs were tested on different samples")
    frame = first.frame[keys]
    if "class_names" not in first.description:
        columns = [name for name in first.frame.columns if _is_prediction(name)]
        if not columns:
            raise InputError("the predictions of single samples were not recorded")
        means = {name: np.mean([run.frame[name].to_numpy() for run in runs], 0, dtype=float) for name in columns}
        return RecordedPredictions(frame.with_columns(**{k: pl.Series(v) for k, v in means.items()}), first.description)
    probabilities: Values = np.mean([_probabilities(run) for run in runs], 0)
    names: list[str] = first.description["class_names"]
    if first.description.get("multilabel"):
        columns = first.columns("prediction")
        labels = {name: (probabilities[:, i] > 0.5).astype(int) for i, name in enumerate(columns)}
    else:
        labels = {"prediction": np.array(names)[probabilities.argmax(1)]}
    columns_of = {**labels, **{f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)}}
    return RecordedPredictions(
        frame.with_columns(**{k: pl.Series(v) for k, v in columns_of.items()}), first.description
    )


def _is_key(name: str) -> bool:
    """Return whether a column identifies a sample or is its target."""
    results = ("prediction", "probability", "logit", "output", "loss", "set", "lower", "upper")
    return not any(name == result or name.startswith(f"{result}_") for result in results)


def _is_prediction(name: str) -> bool:
    return name == "prediction" or name.startswith("prediction_")


def _probabilities(run: RecordedPredictions) -> Values:
    """Return the probability of each class or label, `(N, classes)`."""
    logits = run.values("logit")
    if logits is None:
        raise InputError("the outputs of the networks were not recorded")
    return to_probabilities(logits, bool(run.description.get("multilabel")))


def prediction_scores(predictions: RecordedPredictions) -> dict[str, float]:
    """Return the scores of recorded predictions.

    These are the accuracy of classes and labels, R2, MAE and RMSE of a regression, and MSE and MAE of forecasts. The
    errors of forecasts are those of standardized values, like the metrics of a run.
    """
    frame, description = predictions.frame, predictions.description
    if "class_names" in description and not description.get("multilabel"):
        return {"accuracy": float((frame["prediction"] == frame["target"]).mean())}  # type: ignore[arg-type]
    columns = [name for name in frame.columns if _is_prediction(name)]
    predicted = frame[columns].to_numpy().astype(float)
    targets = frame[[name.replace("prediction", "target", 1) for name in columns]].to_numpy().astype(float)
    if "class_names" in description:
        return {"accuracy": float((predicted == targets).mean())}
    errors = predicted - targets
    if "channel_std" in description:
        errors = errors / np.array(description["channel_std"])
        return {"mse": float((errors**2).mean()), "mae": float(np.abs(errors).mean())}
    squared = (errors**2).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - squared / targets.var(0)
    return {"r2": float(r2.mean()), "mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt(squared).mean())}


def ensemble_scores(runs: Sequence[RecordedPredictions], singles: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of the ensemble.

    Args:
        runs: The recorded predictions of each run.
        singles: The test metrics of each run. A score is left out unless it agrees with them for each run.

    Raises:
        InputError: See `average_predictions`.
    """
    scores = prediction_scores(average_predictions(runs))
    for run, single in zip(runs, singles, strict=True):
        recomputed = prediction_scores(average_predictions([run]))
        scores = {
            name: value
            for name, value in scores.items()
            if name in single and np.isclose(recomputed[name], single[name], _TOLERANCE, _TOLERANCE)
        }
    return scores
