"""Folders of finished runs, without a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.special import softmax

from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.safety.plain import dump_yaml

CLASSES = ["cat", "dog", "owl"]
WEIGHTS = {"net.weight": torch.arange(3.0)}


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


def write_calibratable_run(name: str = "1", **model: Any) -> Run:
    """Write the folder of a run with a best checkpoint."""
    run = write_run(name, **model)
    torch.save({"state_dict": WEIGHTS}, run.best)
    return run


def record_logits(run: Run, part: str, samples: int, scale: float = 3.0, seed: int = 0, **columns: Any) -> None:
    """Record a classifier that is right as often as the softmax of its logits says, before they are scaled."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (samples, 3))
    targets = (softmax(logits, axis=1).cumsum(1) < generator.random((samples, 1))).sum(1).clip(0, 2)
    logits = (scale * logits).astype(np.float32)
    names = np.array(CLASSES)
    frame = pl.DataFrame(
        {
            "index": range(samples),
            "target": names[targets],
            "prediction": names[logits.argmax(1)],
            "probability": softmax(logits, axis=1).max(1),
            **{f"logit_{name}": logits[:, i] for i, name in enumerate(CLASSES)},
            **columns,
        }
    )
    RecordedPredictions(frame, {"class_names": CLASSES, "multilabel": False}).save(run.recorded_predictions(part))
