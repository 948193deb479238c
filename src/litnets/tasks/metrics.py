"""Metrics of the training, which are updated in every step: torchmetrics' own take a tenth of a small network's."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAUROC, MultilabelAUROC
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class MeanLoss(MeanMetric):
    """Mean of the batches' losses; one that is not a number makes the mean none."""

    def __init__(self, **metric: Any) -> None:
        super().__init__(nan_strategy="ignore", **metric)  # which is asked of nobody: `update` is this one

    def update(self, value: Tensor | float, weight: Tensor | float | None = 1.0) -> None:
        """Add a batch's mean loss, a scalar, with its weight."""
        assert weight is not None
        # `add_`, as an assignment to a module's attribute takes longer than the addition.
        self.mean_value.add_(value * weight)
        self.weight.add_(weight)


def reset_metrics(*metrics: Metric | MetricCollection) -> None:
    """Reset metrics so that they may be updated anywhere: a tensor that is made in Lightning's inference mode could not
    be added to in a training."""
    with torch.inference_mode(False):
        for metric in metrics:
            metric.reset()


class FastAccuracy(Metric):
    """Share of the samples whose class has the highest number: the accuracy, over all processes."""

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    samples: Tensor

    def __init__(self, **metric: Any) -> None:
        super().__init__(**metric)
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: logits or probabilities `(N, classes)`, classes `(N,)`."""
        self.hits.add_((outputs.argmax(1) == targets).sum())
        self.samples.add_(len(targets))

    def compute(self) -> Tensor:
        return self.hits / self.samples


class _ConsolidatedState(Metric):
    """Keeps what it has seen of all batches in few pieces, each at least twice as long as the next, instead of one a
    batch: a few bytes kept of each batch would lie where large ones are to come, which then do not fit there."""

    preds: list[Tensor]
    target: list[Tensor]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(preds, target)  # type: ignore[safe-super]  # that of torchmetrics, which comes next
        for kept in (self.preds, self.target):
            while len(kept) > 1 and len(kept[-2]) < 2 * len(kept[-1]):
                kept[-2:] = [torch.cat(kept[-2:])]

    def compute(self) -> Tensor:
        """Mean over the classes that some samples have and some have not, NaN if there is none: torchmetrics counts
        the others as 0."""
        preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        areas = []
        for i in range(preds.shape[1]):
            flags = target[:, i].bool() if target.ndim > 1 else target == i
            if flags.any() and not flags.all():
                areas.append(binary_auroc(preds[:, i], flags.int(), validate_args=False))
        return torch.stack(areas).mean() if areas else preds.new_tensor(torch.nan)


class ClassAUROC(_ConsolidatedState, MulticlassAUROC):  # type: ignore[misc]  # which types `compute` as what it refines
    """Area under the ROC curve of each class against the rest, exact."""


class LabelAUROC(_ConsolidatedState, MultilabelAUROC):  # type: ignore[misc]
    """Area under the ROC curve of each flag, exact."""
