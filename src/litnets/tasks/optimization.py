"""Optimisers and learning rate schedules from plain names and numbers."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from litnets.errors import InputError
from litnets.tasks.classes import check_arguments, find_class, public_classes

# The arguments in which torch's schedules take their length, in updates of the learning rate.
_LENGTH_ARGUMENTS = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max", "PolynomialLR": "total_iters"}


class WarmupCosineLR(LRScheduler):
    """Linear warm-up from zero, then half a cosine down to zero (Loshchilov and Hutter 2017, without restarts).

    Args:
        optimizer: The optimiser whose learning rate is set.
        total_steps: Updates of the learning rate until it reaches zero.
        warmup: Share of `total_steps` spent rising, in [0, 1).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.1, last_epoch: int = -1) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup: expected a share of all steps in [0, 1), got {warmup}")
        self.total_steps = total_steps
        self.warmup_steps = min(round(warmup * total_steps), total_steps - 1)  # the last step falls
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        step = min(self.last_epoch, self.total_steps)
        if step < self.warmup_steps:
            # The first step already learns: (step + 1), not step.
            factor = (step + 1) / (self.warmup_steps + 1)
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)))
        return [float(base) * factor for base in self.base_lrs]


class SGDW(torch.optim.SGD):
    """SGD whose weight decay is decoupled (Loshchilov and Hutter 2019): each step takes `lr * weight_decay` of the
    weights away directly, not through the gradient, whose momentum would go on with it. Arguments as those of SGD.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:  # the gradient is one of the weights before they decay
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.detach().mul_(1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return loss


_OWN_OPTIMIZERS: dict[str, type[Optimizer]] = {"SGDW": SGDW}
_OWN_SCHEDULERS: dict[str, type[LRScheduler]] = {"WarmupCosineLR": WarmupCosineLR}
_LENGTH_ARGUMENTS["WarmupCosineLR"] = "total_steps"


@dataclass(frozen=True)
class Optimization:
    """How a network is optimised. The fields are the arguments of the same names of `litnets.tasks.Task`.

    Raises:
        InputError: A name that torch does not have, an argument that the class does not take, or a value that it
            refuses; before any training.
    """

    optimizer: str
    lr: float | None
    weight_decay: float | None
    optimizer_args: dict[str, Any] | None
    lr_scheduler: str | None
    lr_scheduler_args: dict[str, Any] | None
    lr_scheduler_interval: Literal["step", "epoch"] | None

    def __post_init__(self) -> None:
        dummy = nn.Linear(2, 2)
        try:
            optimizer = self.build_optimizer(dummy.named_parameters())
            if self.lr_scheduler is not None:
                self.build_scheduler(optimizer, length=100, mode="min")
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"optimizer or lr_scheduler: {error}") from error

    def build_optimizer(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        """The optimiser, with what was not given left at its own defaults, and fused (one call for all parameters)
        where torch has that. Biases and normalisation (every parameter of fewer than two dimensions) are not decayed.
        """
        known = public_classes(torch.optim, Optimizer) | _OWN_OPTIMIZERS
        cls: Callable[..., Optimizer] = find_class("optimizer", self.optimizer, known)
        given = {"lr": self.lr, "weight_decay": self.weight_decay}
        kwargs = {**(self.optimizer_args or {}), **{name: value for name, value in given.items() if value is not None}}
        check_arguments("optimizer_args", cls, kwargs, given=1)
        parameters = [parameter for _, parameter in named_parameters if parameter.requires_grad]
        if _can_fuse(cls, kwargs, parameters):
            kwargs["fused"] = True
        takes_decay = "weight_decay" in inspect.signature(cls).parameters
        if not takes_decay:
            return cls(parameters, **kwargs)
        decayed = [parameter for parameter in parameters if parameter.ndim >= 2]
        rest = [parameter for parameter in parameters if parameter.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        optimizer = cls([group for group in groups if group["params"]], **kwargs)
        if kwargs.get("fused"):
            # A fused one offers to unscale the gradients of float16 itself, for which Lightning refuses to clip them
            # under any mixed precision (2.6.6, issue #21435). Unscaled before, as for all others, it does as well.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return optimizer

    def build_scheduler(self, optimizer: Optimizer, length: float, mode: str) -> LRScheduler:
        """The schedule on `optimizer`. `length` is the number of its updates in the whole training, used where the
        schedule needs one and none was given; `mode` that of the metric that ReduceLROnPlateau watches."""
        assert self.lr_scheduler is not None
        name = self.lr_scheduler
        known = public_classes(lr_scheduler, LRScheduler) | _OWN_SCHEDULERS
        cls: Callable[..., LRScheduler] = find_class("lr_scheduler", name, known)
        kwargs = {key: value for key, value in (self.lr_scheduler_args or {}).items() if key != "monitor"}
        if self.fills_length:
            if not math.isfinite(length):
                raise InputError(f"lr_scheduler {name} needs to know how long training is; give --trainer.max_epochs")
            kwargs[_LENGTH_ARGUMENTS[name]] = max(1, int(length))
        if name == "OneCycleLR":
            kwargs.setdefault("max_lr", [group["lr"] for group in optimizer.param_groups])
            # It would give momentum to an optimiser that was asked for without.
            momentum = optimizer.defaults.get("momentum") or "betas" in optimizer.defaults
            kwargs.setdefault("cycle_momentum", bool(momentum))
        if name == "ReduceLROnPlateau":
            kwargs.setdefault("mode", mode)
        check_arguments("lr_scheduler_args", cls, kwargs, given=1)
        return cls(optimizer, **kwargs)

    @property
    def fills_length(self) -> bool:
        """Whether the schedule's length comes from the trainer."""
        argument = _LENGTH_ARGUMENTS.get(self.lr_scheduler or "")
        given = self.lr_scheduler_args or {}
        return argument is not None and argument not in given and "epochs" not in given

    @property
    def interval(self) -> Literal["step", "epoch"]:
        """How often the schedule moves: as told, else each step if its length comes from the trainer, else each
        epoch (ReduceLROnPlateau always: what it watches is there once an epoch)."""
        if self.lr_scheduler == "ReduceLROnPlateau":
            return "epoch"
        return self.lr_scheduler_interval or ("step" if self.fills_length else "epoch")

    @property
    def monitor(self) -> str | None:
        """The metric that ReduceLROnPlateau was told to watch."""
        return (self.lr_scheduler_args or {}).get("monitor")


def _can_fuse(cls: Callable[..., Optimizer], given: dict[str, Any], parameters: list[nn.Parameter]) -> bool:
    """Whether torch has a fused step of this optimiser, on these devices, and nobody chose another one."""
    known = isinstance(cls, type) and issubclass(cls, (torch.optim.Adam, torch.optim.SGD))
    chosen = {"fused", "foreach", "capturable", "differentiable"} & given.keys()
    devices = {parameter.device.type for parameter in parameters if parameter.is_floating_point()}
    return known and not chosen and devices <= {"cpu", "cuda", "mps"}
