"""Notes for the user on a run: rare classes, too few steps, a result below a simple baseline."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from litnets.analysis.baselines import Baselines
from litnets.analysis.finished_run import best_baseline, choose_metric, is_better, is_lower_better
from litnets.data.core.base import ArrayDataModule

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


def advice(model: LightningModule, results: Mapping[str, Any], baselines: Baselines) -> list[str]:
    """Return notes on a finished run: too few steps, or a result that is not better than a simple baseline.

    Args:
        model: The model.
        results: The content of results.json.
        baselines: The metrics of the baselines on the test split.
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
    return [*lines, *_below_baseline(results, baselines)]


def _below_baseline(results: Mapping[str, Any], baselines: Baselines) -> list[str]:
    """Return a line that names the best baseline, if the network is not better."""
    test: Mapping[str, float] = results.get("test") or {}
    if not test:
        return []
    metric = choose_metric(list(test), (results.get("best") or {}).get("monitor"))
    baseline = best_baseline(baselines, metric)
    is_perfect = test[metric] == (0 if is_lower_better(metric) else 1)
    if baseline is None or is_perfect or is_better(metric, test[metric], baseline[1]):
        return []
    name, score = baseline
    compared = "below" if is_lower_better(metric) else "above"
    return [f"test {metric} {test[metric]:.4f} is not {compared} {score:.4f}, that of the best baseline ({name})"]
