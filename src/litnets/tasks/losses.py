"""Build losses from names and numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric

from litnets.errors import InputError, did_you_mean
from litnets.safety.resolving import resolve_class
from litnets.tasks.registry import check_arguments


def build_loss(
    name: str, builtin: Sequence[str], arguments: dict[str, Any], outputs: Sequence[int], targets: Tensor
) -> nn.Module:
    """Build a loss and try it on a small batch, so that a loss that does not fit is reported before any training.

    Args:
        name: One of `builtin`, or the dotted path of an nn.Module class that is called with outputs and targets.
        builtin: The losses of torch.nn that fit the task.
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
    known = {loss: getattr(nn, loss) for loss in builtin}
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
    # Class weights follow from the hyperparameters. If they were saved, the checkpoint would fit only models with them.
    for key, buffer in list(loss.named_buffers(recurse=False)):
        loss.register_buffer(key, buffer, persistent=False)
    return loss
