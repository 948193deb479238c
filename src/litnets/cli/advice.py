"""Notes for the user on a run: rare classes, too few steps, a result below a simple baseline."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from litnets.data.core.base import ArrayDataModule
from litnets.data.images.segmentation import SegmentationDataModule
from litnets.data.series.base import SeriesDataModule, SeriesWindows
from litnets.tasks import Classifier, Forecaster, Regressor, Segmenter

FEW_STEPS = 200
_RARE = 5  # a class is rare if another one is at least this many times as frequent


def class_imbalance(datamodule: LightningDataModule | None) -> str | None:
    """Return a line that reports that some classes are much rarer than others, or None."""
    if not isinstance(datamodule, ArrayDataModule) or getattr(datamodule, "multilabel", False):
        return None
    if getattr(datamodule, "ignore_index", None) is not None:
        return None  # in masks, most pixels are background
    counts, names = datamodule.class_counts, getattr(datamodule, "class_names", None)
    if not counts or names is None or max(counts) < _RARE * min(counts):
        return None
    rarest, largest = counts.index(min(counts)), counts.index(max(counts))
    return (
        f"classes: '{names[rarest]}' has {counts[rarest]} of {sum(counts)} training samples, '{names[largest]}' "
        f"{counts[largest]}; --model.class_weights balanced weights them equally"
    )


def advice(model: LightningModule, datamodule: LightningDataModule | None, results: dict[str, Any]) -> list[str]:
    """Return notes on a finished run: too few steps, or a result that is not better than a simple baseline.

    Args:
        model: The model.
        datamodule: The data.
        results: The content of results.json.
    """
    lines = []
    steps = results["steps"]
    best = results.get("best")
    improves_to_the_end = best is not None and best["epoch"] == results["epochs"]  # already reported by `stop_reason`
    is_pretrained = model.hparams.get("weights", "none") != "none"
    if steps < FEW_STEPS and not improves_to_the_end and not is_pretrained:
        lines.append(
            f"only {steps} optimizer steps: too few for most networks; raise --trainer.max_epochs or reduce "
            "--data.batch_size"
        )
    if isinstance(datamodule, ArrayDataModule) and (test := results.get("test")):
        lines += _below_baseline(model, datamodule, test)
    return lines


def _below_baseline(model: LightningModule, datamodule: ArrayDataModule, test: dict[str, float]) -> list[str]:
    if isinstance(model, Classifier) and not model.multilabel:
        if datamodule.class_counts is None:  # the targets are not in memory
            return []
        baseline = majority_accuracy(datamodule)
        if test.get("accuracy", 1) <= baseline:
            return [
                f"test accuracy {test['accuracy']:.4f} is not above {baseline:.4f}, that of the most frequent class"
            ]
    elif isinstance(model, Segmenter) and isinstance(datamodule, SegmentationDataModule):
        baseline = majority_pixels(datamodule)
        if test["accuracy"] <= baseline:
            return [
                f"test accuracy {test['accuracy']:.4f} of the pixels is not above {baseline:.4f}, that of the most "
                "frequent class"
            ]
    elif isinstance(model, Regressor) and test.get("r2", 1) <= 0:
        return [f"test r2 {test['r2']:.4f} is not above 0, that of the mean of the targets"]
    elif isinstance(model, Forecaster) and isinstance(datamodule, SeriesDataModule):
        period, error = seasonal_naive(datamodule)
        if test["mse"] >= error:
            repeated = "the last value" if period == 1 else f"the last {period} steps"
            return [f"test mse {test['mse']:.4f} is not below {error:.4f}, that of repeating {repeated}"]
    return []


def majority_accuracy(datamodule: ArrayDataModule) -> float:
    """Return the test accuracy of always predicting the most frequent class of the training split."""
    counts = datamodule.class_counts
    assert counts is not None
    test = datamodule.splits["test"]
    return (test.targets[test.indices] == counts.index(max(counts))).float().mean().item()


def majority_pixels(datamodule: SegmentationDataModule) -> float:
    """Return the fraction of the labeled test pixels whose class is the most frequent one in the training split."""
    trained = datamodule.class_counts
    assert trained is not None
    counts = datamodule.count_classes(datamodule.splits["test"], len(trained))
    return counts[trained.index(max(trained))] / sum(counts)


def seasonal_naive(datamodule: SeriesDataModule) -> tuple[int, float]:
    """Return the period and the test MSE of the forecast that repeats the last period, on standardized values.

    The period, of at most `look_back` steps, is the one with the smallest error on the training split.
    """
    train, test = (datamodule.splits[part] for part in ("train", "test"))
    assert isinstance(train, SeriesWindows)
    assert isinstance(test, SeriesWindows)
    few = torch.linspace(0, len(train) - 1, min(len(train), 500)).long()
    errors = [_naive_error(datamodule, train, few, period) for period in range(1, datamodule.look_back + 1)]
    period = 1 + min(range(len(errors)), key=errors.__getitem__)
    chunks = torch.arange(len(test)).split(1000)
    total = sum(len(chunk) * _naive_error(datamodule, test, chunk, period) for chunk in chunks)
    return period, total / len(test)


def _naive_error(datamodule: SeriesDataModule, windows: SeriesWindows, samples: Tensor, period: int) -> float:
    inputs, targets = (datamodule.prepare(values) for values in windows[samples])
    steps = torch.arange(targets.shape[1]) % period
    forecast = inputs[:, -period:][:, steps]
    return float((forecast - targets).square().mean())
