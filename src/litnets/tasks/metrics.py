"""Fast metrics for training steps: updating those of torchmetrics takes a tenth of the time of a small network."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class MeanLoss(MeanMetric):
    """Weighted mean of the losses of batches. A NaN loss makes the mean NaN."""

    def __init__(self, **metric: Any) -> None:
        super().__init__(nan_strategy="ignore", **metric)  # skips a check; `update` below keeps NaN

    def update(self, value: Tensor | float, weight: Tensor | float | None = 1.0) -> None:
        """Add the mean loss of a batch, a scalar, with its weight."""
        assert weight is not None
        # Assigning to an attribute of a module would take longer than the addition.
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


class _ConsolidatedState(Metric):
    """Keep predictions and targets in few pieces, each at least twice as long as the next, instead of one per batch.

    Many small tensors would fragment the memory, and large ones would no longer fit in between.
    """

    preds: list[Tensor]
    target: list[Tensor]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(preds, target)  # type: ignore[safe-super]  # the method of torchmetrics, next in the MRO
        for pieces in (self.preds, self.target):
            while len(pieces) > 1 and len(pieces[-2]) < 2 * len(pieces[-1]):
                pieces[-2:] = [torch.cat(pieces[-2:])]

    def compute(self) -> Tensor:
        """Return the mean over classes with positive and negative samples, or NaN. torchmetrics counts others as 0."""
        preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        areas = []
        for i in range(preds.shape[1]):
            positive = target[:, i].bool() if target.ndim > 1 else target == i
            if positive.any() and not positive.all():
                areas.append(binary_auroc(preds[:, i], positive.int(), validate_args=False))
        return torch.stack(areas).mean() if areas else preds.new_tensor(torch.nan)


class ClassAUROC(_ConsolidatedState, MulticlassAUROC):  # type: ignore[misc]  # which annotates `compute` as a property
    """Exact area under the ROC curve of each class against the rest."""


class LabelAUROC(_ConsolidatedState, MultilabelAUROC):  # type: ignore[misc]
    """Exact area under the ROC curve of each label."""
