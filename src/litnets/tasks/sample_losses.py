"""The loss of each sample, for the recorded results of a test."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def loss_columns(
    criterion: Any, loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Return the column `loss`, the loss of each sample, `(N,)`. Its mean is the loss of the batch.

    With class weights, or a class that the loss ignores, `loss_weight` is the weight of each sample in the mean. The
    result is empty if the `reduction` of `criterion` is not `mean`, or if it does not return one loss per sample.

    Args:
        criterion: The loss module that `loss` calls.
        loss: Returns the mean loss of a batch.
        outputs: Outputs of the network, `(N, ...)`.
        targets: Targets, `(N, ...)`.
    """
    weights = _sample_weights(criterion, targets)
    if weights is not None and not weights.any():
        return {"loss": torch.zeros_like(weights), "loss_weight": weights}
    if getattr(criterion, "reduction", None) != "mean":
        return {}
    criterion.reduction = "none"
    try:
        losses = loss(outputs, targets)
    finally:
        criterion.reduction = "mean"
    if losses.shape[:1] != targets.shape[:1]:
        return {}
    losses = losses.flatten(1).mean(1) if losses.ndim > 1 else losses
    if weights is None:
        return {"loss": losses}
    return {"loss": torch.where(weights > 0, losses / weights, 0.0), "loss_weight": weights}


def _sample_weights(criterion: nn.Module, targets: Tensor) -> Tensor | None:
    """Return the weight of each sample in the mean of CrossEntropyLoss, `(N,)`; None if all are 1."""
    if not isinstance(criterion, nn.CrossEntropyLoss):
        return None
    is_counted = targets != criterion.ignore_index
    if criterion.weight is not None:
        return torch.where(is_counted, criterion.weight[targets.long().clamp_min(0)], 0.0)
    return is_counted.float() if criterion.ignore_index >= 0 else None
