"""Build losses by name; the Dice loss."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric

from litnets.errors import InputError, did_you_mean
from litnets.safety.resolving import resolve_class
from litnets.tasks.registry import check_arguments


def build_loss(
    name: str,
    builtin: Sequence[str] | Mapping[str, type[nn.Module]],
    arguments: dict[str, Any],
    outputs: Sequence[int],
    targets: Tensor,
) -> nn.Module:
    """Build a loss and try it on a small batch, so that a loss that does not fit is reported before any training.

    Args:
        name: One of `builtin`, or the dotted path of an nn.Module class that is called with outputs and targets.
        builtin: Names of the losses of torch.nn that fit the task, or a mapping from names to classes of losses.
        arguments: The loss's arguments; a list, such as class weights, becomes a tensor.
        outputs: Shape of the network's outputs for the small batch.
        targets: The small batch's targets.

    Raises:
        InputError: The loss does not exist, does not fit, or does not take one of the arguments.
    """
    if name not in builtin and not (isinstance(name, str) and "." in name):
        raise InputError(
            f"loss: '{name}' does not fit here{did_you_mean(str(name), builtin)} (what fits: "
            f"{', '.join(builtin)}, or your own class by its dotted path)"
        )
    known = builtin if isinstance(builtin, Mapping) else {loss: getattr(nn, loss) for loss in builtin}
    # Neither a metric nor a LightningModule is a loss, though both are nn.Modules; some metrics download weights.
    cls = resolve_class("loss", name, nn.Module, known, excluded=(Metric, LightningModule))
    check_arguments("loss_args", cls, arguments)
    if arguments.get("reduction", "mean") != "mean":
        raise InputError(f"loss_args: reduction is always mean, got '{arguments['reduction']}'")
    dtype = torch.float if name in builtin else None  # torch's losses take floats; your own may take indices
    try:
        kwargs = {k: torch.tensor(v, dtype=dtype) if isinstance(v, list) else v for k, v in arguments.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as one for shapes that only fit by broadcasting
            loss: nn.Module = cls(**kwargs)
            value = loss(torch.linspace(-1, 1, torch.Size(outputs).numel()).view(*outputs), targets)
    except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError, Warning) as error:
        raise InputError(f"loss: {name} does not work here: {' '.join(str(error).split())}") from error
    if not isinstance(value, Tensor) or value.ndim:
        raise InputError(f"loss: {name} does not give one number for a batch")
    # Class weights follow from the hyperparameters. Saving them would restrict the checkpoint to models with weights.
    for key, buffer in list(loss.named_buffers(recurse=False)):
        loss.register_buffer(key, buffer, persistent=False)
    return loss


def build_class_weights(
    weights: list[float] | Literal["balanced"] | None, counts: list[int] | None, num_classes: int
) -> Tensor | None:
    """Return the weight of each class in the loss, `(num_classes,)`, or None.

    Args:
        weights: A number per class, or `balanced`: n / (num_classes * count).
        counts: Training samples, or pixels, per class; None if the data do not report them.
        num_classes: Number of classes.

    Raises:
        InputError: The weights do not fit the classes, or there are no counts to balance.
    """
    if weights is None:
        return None
    if weights == "balanced":
        if counts is None:
            raise InputError(
                "class_weights: balanced needs the number of samples per class, which the data do not report; set a "
                "list of numbers"
            )
        return torch.tensor([sum(counts) / (num_classes * max(count, 1)) for count in counts])
    if len(weights) != num_classes:
        raise InputError(f"class_weights: expected {num_classes} numbers, one per class, got {len(weights)}")
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise InputError(f"class_weights: expected numbers of at least 0, not all of them 0, got {weights}")
    return torch.tensor(weights, dtype=torch.float)


def dice_loss(outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the soft Dice loss of logits `(N, classes)` and class indices `(N,)`: 1 - 2 |P ∩ T| / (|P| + |T|).

    The sizes of P and T are sums of probabilities and targets over the batch. Unlike in Milletari et al. 2016 (arXiv
    1606.04797), the probabilities in the denominator are not squared.

    Args:
        outputs: The logits.
        targets: The class indices.
        weight: Weight of each class in the mean, `(classes,)`. Classes without a target in the batch are left out.
    """
    probabilities = outputs.softmax(1)
    is_target = targets.unsqueeze(1) == torch.arange(outputs.shape[1], device=outputs.device)  # (N, classes)
    counts = is_target.sum(0)
    dice = 2 * (probabilities * is_target).sum(0) / (probabilities.sum(0) + counts)
    weights = (counts > 0).float() if weight is None else weight * (counts > 0)
    return 1 - (weights * dice).sum() / weights.sum()


class DiceLoss(nn.Module):
    """`dice_loss` as a module.

    Args:
        weight: Weight of each class in the mean, `(classes,)`. Default: 1 for each class.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits `(N, classes)` and class indices `(N,)`, a scalar."""
        return dice_loss(outputs, targets, self.weight)


class CrossEntropyDiceLoss(nn.CrossEntropyLoss):
    """The sum of cross entropy and Dice loss.

    Args:
        weight: Weight of each class in both losses, `(classes,)`. Default: 1 for each class.
        label_smoothing: Label smoothing of the cross entropy.
        dice_weight: Factor of the Dice loss.
    """

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0, dice_weight: float = 1.0) -> None:
        super().__init__(weight, label_smoothing=label_smoothing)
        self.dice_weight = dice_weight

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits `(N, classes)` and class indices `(N,)`, a scalar."""
        return super().forward(outputs, targets) + self.dice_weight * dice_loss(outputs, targets, self.weight)
