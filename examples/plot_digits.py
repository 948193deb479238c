"""Plot the loss per epoch and the confusion matrix of a run on Digits, from the files in the run folder.

    litnets fit --config configs/digits_mlp.yaml
    litnets predict --config checkpoints/digits_mlp/<run>/config.yaml
    python examples/plot_digits.py checkpoints/digits_mlp/<run> figure.png

Needs matplotlib: `pip install -e ".[figures]"`. The run must use the default split, as the shipped configurations do.
"""

import csv
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from litnets import Digits


def read_curve(run: Path, name: str) -> tuple[list[int], list[float]]:
    """Return the epochs (counted from 1) and the value of a metric in each."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[name]]
    return [int(row["epoch"]) + 1 for row in rows], [float(row[name]) for row in rows]


def confusion_matrix(run: Path) -> torch.Tensor:
    """Return the confusion matrix of the test split: counts by `(target, prediction)`."""
    data = Digits()
    data.setup()
    _, targets = data.splits["test"][:]
    with (run / "predictions.csv").open(newline="") as file:
        predictions = torch.tensor([int(row["prediction"]) for row in csv.DictReader(file)])
    cells = targets.long() * data.num_classes + predictions
    return cells.bincount(minlength=data.num_classes**2).view(data.num_classes, -1)


def plot(run: Path) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    curves, matrix = figure.subplots(1, 2)
    for name, label in (("train/loss", "training"), ("val/loss", "validation")):
        curves.plot(*read_curve(run, name), label=label)
    curves.set(title="Loss", xlabel="epoch", yscale="log")
    curves.legend()
    counts = confusion_matrix(run)
    matrix.imshow(counts.numpy(), cmap="Blues")
    for target, row in enumerate(counts.tolist()):
        for prediction, count in enumerate(row):
            if count:
                color = "white" if count > counts.max() / 2 else "black"
                matrix.text(prediction, target, str(count), ha="center", va="center", color=color, fontsize=8)
    digits = range(len(counts))
    accuracy = counts.trace() / counts.sum()
    matrix.set(title=f"Test accuracy {accuracy:.4f}", xlabel="prediction", ylabel="target")
    matrix.set(xticks=digits, yticks=digits)
    return figure


if __name__ == "__main__":
    plot(Path(sys.argv[1])).savefig(sys.argv[2], dpi=100)
