"""Permutation importance: how much the score drops when the values of a column are shuffled (Breiman 2001)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from litnets.tasks import Task

BOOTSTRAPS = 200
MAX_ROWS = 5000  # more rows barely narrow the intervals

Score = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Importance:
    """The importance of a column.

    Args:
        column: Its name.
        mean: Score of the network minus its mean score with the column shuffled.
        low, high: 95% interval, by a bootstrap over the rows and the repeats.
    """

    column: str
    mean: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def permutation_importance(
    predict: Callable[[Tensor], Tensor],
    score: Score,
    rows: Tensor,
    targets: Tensor,
    columns: Mapping[str, Sequence[int]],
    repeats: int = 10,
    seed: int = 0,
) -> list[Importance]:
    """Return the importance of each column, as defined by scikit-learn.

    Args:
        predict: Returns the outputs of the network for rows.
        score: Scores outputs against targets; higher is better.
        rows: The rows as they were read, `(N, columns)`. The features of a category are thus shuffled together.
        targets: Their targets, `(N, ...)`.
        columns: Indices into a row by the name of the column that they encode. Those of a date are shuffled together.
        repeats: How often each column is shuffled.
        seed: Seed of the shuffles, the same for each column, as in scikit-learn.
    """
    outputs = predict(rows)
    base = score(outputs, targets)
    random = np.random.default_rng(seed)
    resamples = [torch.from_numpy(random.integers(len(rows), size=len(rows))) for _ in range(BOOTSTRAPS)]
    resamples = [resample.to(targets.device) for resample in resamples]
    base_of = [score(outputs[resample], targets[resample]) for resample in resamples]
    importances = []
    for column, indices in columns.items():
        shuffled = [predict(changed) for changed in _shuffles(rows, indices, repeats, seed)]
        mean = base - float(np.mean([score(changed, targets) for changed in shuffled]))
        drops = [
            reference - score(shuffled[i % repeats][resample], targets[resample])
            for i, (reference, resample) in enumerate(zip(base_of, resamples, strict=True))
        ]
        low, high = np.quantile(drops, [0.025, 0.975])
        importances.append(Importance(column, mean, float(low), float(high)))
    return importances


def _shuffles(rows: Tensor, columns: Sequence[int], repeats: int, seed: int) -> list[Tensor]:
    """Return copies of the rows. In each, some columns are shuffled once more than in the last, as in scikit-learn."""
    random = np.random.RandomState(seed)
    order = np.arange(len(rows))
    values, copies = rows[:, columns], []
    for _ in range(repeats):
        random.shuffle(order)
        values = values[torch.from_numpy(order).to(rows.device)]
        changed = rows.clone()
        changed[:, columns] = values
        copies.append(changed)
    return copies


def build_score(network: Task, monitor: str) -> tuple[Score, str]:
    """Return the score by the monitored metric of a run, and its name. A metric where lower is better is negated.

    Args:
        network: The LightningModule.
        monitor: Such as `val/accuracy`. If the task has no such metric, its default one is used.
    """
    metrics: dict[str, Any] = dict(network.val_metrics.items(keep_base=True, copy_state=False))
    names = [name.rpartition("/")[2] for name in (monitor, network.monitor)]
    name = next(name for name in (*names, "loss") if name in metrics or name == "loss")
    if name == "loss":
        return lambda outputs, targets: -float(network.loss(outputs, targets)), "loss"
    metric = metrics[name].clone()
    sign = 1 if metric.higher_is_better else -1

    def score(outputs: Tensor, targets: Tensor) -> float:
        metric.reset()
        network.update_metrics(MetricCollection({name: metric}, compute_groups=False), outputs, targets)
        return sign * float(metric.compute())

    return score, name
