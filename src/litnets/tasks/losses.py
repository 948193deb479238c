"""Losses from plain names and numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from litnets.errors import InputError, did_you_mean
from litnets.tasks.registry import check_arguments, find_class


def build_loss(
    name: str, fits: Sequence[str], arguments: dict[str, Any], outputs: Sequence[int], targets: Tensor
) -> nn.Module:
    """The loss `name`, tried on a small batch so that what does not fit is said before any training.

    Args:
        name: One of `fits`, or the dotted path of a class that is called with outputs and targets.
        fits: The losses of torch.nn that fit the task.
        arguments: Its arguments; a list, as of weights, becomes a tensor.
        outputs: Shape of the network's outputs for the small batch.
        targets: The small batch's targets.

    Raises:
        InputError: A loss that does not exist or does not fit, or an argument that it does not take.
    """
    if name not in fits and "." not in name:
        raise InputError(
            f"loss: '{name}' does not fit here{did_you_mean(name, fits)} (what fits: "
            f"{', '.join(fits)}, or your own class by its dotted path)"
        )
    cls = find_class("loss", name, {fit: getattr(nn, fit) for fit in fits})
    check_arguments("loss_args", cls, arguments)
    if arguments.get("reduction", "mean") != "mean":
        raise InputError(f"loss_args: reduction is always mean, got '{arguments['reduction']}'")
    try:
        kind = torch.float if name in fits else None  # all that torch's losses take; your own may take indices
        given = {k: torch.tensor(v, dtype=kind) if isinstance(v, list) else v for k, v in arguments.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as shapes that only fit by broadcasting
            loss: nn.Module = cls(**given)
            value = loss(torch.linspace(-1, 1, torch.Size(outputs).numel()).view(*outputs), targets)
    except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError, Warning) as error:
        raise InputError(f"loss: {name} does not work here: {' '.join(str(error).split())}") from error
    if not isinstance(value, Tensor) or value.ndim:
        raise InputError(f"loss: {name} does not give one number for a batch")
    # Weights of classes follow from the hyperparameters: in the checkpoint they would bind it to one way of training.
    for key, buffer in list(loss.named_buffers(recurse=False)):
        loss.register_buffer(key, buffer, persistent=False)
    return loss
