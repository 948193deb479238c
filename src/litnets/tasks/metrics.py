"""AUROC, and fast metrics for training steps. The metrics of torchmetrics would take a tenth of the time of a step."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from litnets.pieces import append_merged


class MeanLoss(MeanMetric):
    """Weighted mean of the losses of batches. A NaN loss makes the mean NaN."""

    def __init__(self, **metric: Any) -> None:
        super().__init__(nan_strategy="ignore", **metric)  # skips a check; `update` below keeps NaN

    def update(self, value: Tensor | float, weight: Tensor | float | None = 1.0) -> None:
        """Add the mean loss of a batch, a scalar, with its weight."""
        assert weight is not None
        # In place, because assigning to an attribute of a module would take longer than the addition.
        self.mean_value.add_(value * weight)
        self.weight.add_(weight)


def reset_metrics(*metrics: Metric | MetricCollection) -> None:
    """Reset metrics outside of inference mode, whose tensors could not be updated during training."""
    with torch.inference_mode(False):
        for metric in metrics:
            metric.reset()


class FastAccuracy(Metric):
    """Fraction of samples whose class has the largest output, over all ranks."""

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    samples: Tensor

    def __init__(self, **metric: Any) -> None:
        super().__init__(**metric)
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch of logits or probabilities `(N, classes)` and class indices `(N,)`."""
        self.hits.add_((outputs.argmax(1) == targets).sum())
        self.samples.add_(len(targets))

    def compute(self) -> Tensor:
        return self.hits / self.samples


class AUROC(Metric):
    """Exact area under the ROC curve, averaged over the classes (each against the rest) or labels."""

    full_state_update = False
    higher_is_better = True
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **metric: Any) -> None:
        super().__init__(**metric)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, targets: Tensor, scores: Tensor) -> None:
        """Add a batch.

        Args:
            predictions: Not used, because probabilities near 1 are equal in float32.
            targets: Class indices `(N,)`, or multi-label targets `(N, labels)`.
            scores: Log-odds, or whatever else orders the samples of each class or label, `(N, classes)`.
        """
        append_merged(self.scores, scores)
        append_merged(self.targets, targets)

    def compute(self) -> Tensor:
        """Return the mean over classes with positive and negative samples, or NaN. torchmetrics counts others as 0."""
        scores, targets = dim_zero_cat(self.scores), dim_zero_cat(self.targets)
        areas = []
        for i in range(scores.shape[1]):
            positive = targets[:, i].bool() if targets.ndim > 1 else targets == i
            if positive.any() and not positive.all():
                areas.append(_area(scores[:, i], positive))
        return torch.stack(areas).mean() if areas else scores.new_tensor(torch.nan)


def _area(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the area under the ROC curve by the ranks of the positive samples (Mann-Whitney U), a scalar."""
    _, group, sizes = scores.unique(return_inverse=True, return_counts=True)
    doubled_rank = (
        2 * sizes.cumsum(0) - sizes + 1
    )  # samples with equal scores share their mean rank; an integer, so exact
    n = positive.sum()
    wins = (doubled_rank[group][positive].sum() - n * (n + 1)) / 2
    area: Tensor = wins / (n * (len(positive) - n))
    return area


def log_odds(logits: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of the probabilities p of softmax, `(N, classes)`.

    Where p rounds to 1 in float32, the log-odds still differ.
    """
    logits = logits - logits.amax(1, keepdim=True)
    # log(1 - p) + log(sum), which is inexact for the most probable class alone.
    rest = logits.logsumexp(1, keepdim=True) + (-logits.softmax(1)).log1p()
    best = logits.argmax(1, keepdim=True)
    rest_of_best = logits.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
    return logits - rest.scatter(1, best, rest_of_best)
