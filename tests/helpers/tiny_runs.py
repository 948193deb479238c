"""Folders of finished runs, without a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.safety.plain import dump_yaml

CLASSES = ["cat", "dog", "owl"]


def write_run(
    name: str, accuracy: float = 0.9, seed: int = 42, score: float = 0.9, data: str = "a.csv", **model: Any
) -> Run:
    """Write the folder of a run that was tested."""
    run = Run(Path("checkpoints", "pets", name))
    run.folder.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "model": {"class_path": "litnets.MLPClassifier", "init_args": {"lr": 0.01, **model}},
        "data": {"class_path": "litnets.TableCSV", "init_args": {"path": data}},
        "experiment": "pets",
    }
    run.config.write_text(dump_yaml(config))
    run.environment.write_text("{}")
    results = {"parameters": 100, "epochs": 5, "seconds": 1.5, "samples_per_second": 5000}
    best = {"monitor": "val/accuracy", "score": score, "epoch": 3}
    run.write_json(run.results, {**results, "best": best, "test": {"loss": 0.3, "accuracy": accuracy, "f1": 0.8}})
    return run


def record(run: Run, predictions: Sequence[int], targets: Sequence[int]) -> None:
    names = np.array(CLASSES)
    frame = pl.DataFrame(
        {
            "index": range(len(targets)),
            "row": [f"pets.csv:{i + 2}" for i in range(len(targets))],
            "target": names[list(targets)],
            "prediction": names[list(predictions)],
        }
    )
    RecordedPredictions(frame, {"class_names": CLASSES}).save(run.recorded_predictions("test"))


def record_values(run: Run, errors: Sequence[float], steps: int = 1) -> None:
    """Record a forecast of zeros, or a regression."""
    count = len(errors) // steps
    columns: dict[str, Any] = {"index": np.repeat(range(count), steps)}
    if steps > 1:
        columns["step"] = np.tile(range(1, steps + 1), count)
    columns |= {"target": np.zeros(len(errors)), "prediction": np.array(errors, float)}
    RecordedPredictions(pl.DataFrame(columns), {"target_std": [2.0]}).save(run.recorded_predictions("test"))


def record_masks(run: Run, wrong: Sequence[int]) -> None:
    """Record images of 100 pixels, half `cat` and half `dog`. `wrong` of the cat pixels are predicted as dog."""
    share = np.array(wrong) / 100
    columns: dict[str, Any] = {"index": range(len(share)), "pixels": np.full(len(share), 100), "accuracy": 1 - share}
    iou = {"cat": (0.5 - share) / 0.5, "dog": 0.5 / (0.5 + share), "owl": np.full(len(share), np.nan)}
    columns["mean_iou"] = (iou["cat"] + iou["dog"]) / 2
    columns |= {f"iou_{name}": values for name, values in iou.items()}
    for name, target, prediction in (("cat", 0.5, 0.5 - share), ("dog", 0.5, 0.5 + share), ("owl", 0.0, 0 * share)):
        columns |= {f"target_fraction_{name}": np.full(len(share), target), f"prediction_fraction_{name}": prediction}
    RecordedPredictions(pl.DataFrame(columns), {"class_names": CLASSES}).save(run.recorded_predictions("test"))
