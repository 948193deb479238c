"""Build optimizers and learning-rate schedules from names and numbers."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from litnets.errors import InputError
from litnets.internals import disable_amp_scaling_in_step
from litnets.safety.resolving import resolve_class
from litnets.tasks.optimizers import SGDW, ConvMuon, WarmupCosineLR
from litnets.tasks.parameter_groups import (
    StageRate,
    learning_rate_factors,
    parameter_groups,
    scale_learning_rates,
)
from litnets.tasks.registry import check_arguments, public_classes

# The arguments that set the length of torch's schedules, in updates of the learning rate.
_LENGTH_ARGUMENTS = {
    "OneCycleLR": "total_steps",
    "CosineAnnealingLR": "T_max",
    "PolynomialLR": "total_iters",
    "WarmupCosineLR": "total_steps",
}

_LITNETS_OPTIMIZERS: dict[str, type[Optimizer]] = {"SGDW": SGDW, "ConvMuon": ConvMuon}
_LITNETS_SCHEDULERS: dict[str, type[LRScheduler]] = {"WarmupCosineLR": WarmupCosineLR}


@dataclass(frozen=True)
class Optimization:
    """How a network is optimized. The fields are the arguments of `litnets.tasks.Task` with the same names.

    To report mistakes before training, the optimizer and the schedule are first built for a dummy network and make one
    step.

    Raises:
        InputError: A name that is not an optimizer or schedule, an argument that the class does not take, or a value
            that it rejects.
    """

    optimizer: str
    lr: float | None
    weight_decay: float | None
    optimizer_args: dict[str, Any] | None
    lr_scheduler: str | None
    lr_scheduler_args: dict[str, Any] | None
    lr_scheduler_interval: Literal["step", "epoch"] | None
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise InputError(f"layer_decay: expected a number in (0, 1], got {self.layer_decay}")
        dummy = nn.Linear(2, 2)
        weight, _ = dummy.parameters()
        rates = {} if self.layer_decay is None else {weight: StageRate("head", 1.0)}
        try:
            optimizer = self.build_optimizer(dummy.named_parameters(), rates)
            scheduler = None
            if self.lr_scheduler is not None:
                scheduler = self.build_scheduler(optimizer, length=100, mode="min")
            self._try_step(optimizer, scheduler, dummy)
        except InputError:
            raise
        except ArithmeticError as error:
            arguments = self.lr_scheduler_args if self.lr_scheduler else self.optimizer_args
            raise InputError(
                f"{self.lr_scheduler or self.optimizer} cannot make a step with {arguments}: {error}; is a length 0?"
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"optimizer or lr_scheduler: {' '.join(str(error).split())}") from error

    def _try_step(self, optimizer: Optimizer, scheduler: LRScheduler | None, dummy: nn.Module) -> None:
        """Make one step, because some arguments are rejected only there."""
        # Custom optimizers and capturable ones may work on a GPU only.
        if "." not in self.optimizer and not (self.optimizer_args or {}).get("capturable"):
            for parameter in dummy.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step(lambda: 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a schedule that steps before the optimizer has
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                scheduler.step(0.0)
            elif scheduler is not None:
                scheduler.step()

    # Resolved only once, while a checkpoint that contains the name is being loaded. Later, the restrictions on names in
    # checkpoints no longer apply.

    @cached_property
    def _optimizer_class(self) -> Callable[..., Optimizer]:
        classes_by_name = public_classes(torch.optim, Optimizer) | _LITNETS_OPTIMIZERS
        cls: Callable[..., Optimizer] = resolve_class("optimizer", self.optimizer, Optimizer, classes_by_name)
        return cls

    @cached_property
    def _scheduler_class(self) -> Callable[..., LRScheduler]:
        classes_by_name = public_classes(lr_scheduler, LRScheduler) | _LITNETS_SCHEDULERS
        cls: Callable[..., LRScheduler] = resolve_class("lr_scheduler", self.lr_scheduler, LRScheduler, classes_by_name)
        return cls

    def build_optimizer(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        rates: Mapping[nn.Parameter, StageRate] | None = None,
    ) -> Optimizer:
        """Build the optimizer. Arguments that were not set keep the optimizer's own defaults.

        Biases and normalization (every parameter with fewer than two dimensions) get no weight decay. The step is fused
        (one call for all parameters of a group) where torch supports it.

        Args:
            named_parameters: The parameters. Those that need no gradient are left out.
            rates: How fast the parameters learn, see `stage_rates`. Default: all equally fast.
        """
        cls = self._optimizer_class
        explicit = {"lr": self.lr, "weight_decay": self.weight_decay}
        kwargs = {
            **(self.optimizer_args or {}),
            **{name: value for name, value in explicit.items() if value is not None},
        }
        check_arguments("optimizer_args", cls, kwargs, num_positional=1)
        parameters = [parameter for _, parameter in named_parameters if parameter.requires_grad]
        if _can_fuse(cls, kwargs, parameters):
            kwargs["fused"] = True
        takes_decay = "weight_decay" in inspect.signature(cls).parameters
        optimizer = cls(parameter_groups(parameters, takes_decay, rates or {}), **kwargs)
        scale_learning_rates(optimizer)
        if kwargs.get("fused"):
            disable_amp_scaling_in_step(optimizer)
        return optimizer

    def build_scheduler(self, optimizer: Optimizer, length: float, mode: str) -> LRScheduler:
        """Build the schedule of an optimizer.

        Args:
            optimizer: The optimizer.
            length: Number of updates of the schedule during training, for schedules whose length is not set.
            mode: Whether ReduceLROnPlateau's metric should become small (`min`) or large (`max`).

        Raises:
            InputError: The schedule needs a finite length, or does not take one of the arguments.
        """
        name = self.lr_scheduler
        assert name is not None
        cls = self._scheduler_class
        kwargs = {key: value for key, value in (self.lr_scheduler_args or {}).items() if key != "monitor"}
        if self.fills_length:
            if not math.isfinite(length):
                raise InputError(f"lr_scheduler {name} needs to know how long training is; set --trainer.max_epochs")
            kwargs[_LENGTH_ARGUMENTS[name]] = max(1, int(length))
        factors = learning_rate_factors(optimizer)
        if set(factors) != {1.0}:
            # A single number would set the same learning rate for every group.
            rates = {key: kwargs[key] for key in ("base_lr", "max_lr") if isinstance(kwargs.get(key), int | float)}
            kwargs |= {key: [rate * factor for factor in factors] for key, rate in rates.items()}
        if name == "OneCycleLR":
            kwargs.setdefault("max_lr", [group["lr"] for group in optimizer.param_groups])
        if name in ("OneCycleLR", "CyclicLR"):
            # By default they cycle the momentum, and fail if the optimizer has none.
            has_momentum = optimizer.defaults.get("momentum") or "betas" in optimizer.defaults
            kwargs.setdefault("cycle_momentum", bool(has_momentum))
        if name == "ReduceLROnPlateau":
            kwargs.setdefault("mode", mode)
        check_arguments("lr_scheduler_args", cls, kwargs, num_positional=1)
        return cls(optimizer, **kwargs)

    @property
    def fills_length(self) -> bool:
        """Whether the length of the schedule is taken from the trainer."""
        argument = _LENGTH_ARGUMENTS.get(self.lr_scheduler or "")
        arguments = self.lr_scheduler_args or {}
        return argument is not None and argument not in arguments and "epochs" not in arguments

    @property
    def interval(self) -> Literal["step", "epoch"]:
        """How often the schedule is updated: `lr_scheduler_interval` if set, else every step if its length is taken
        from the trainer, else every epoch. ReduceLROnPlateau is always updated once per epoch, as its metric is."""
        if self.lr_scheduler == "ReduceLROnPlateau":
            return "epoch"
        return self.lr_scheduler_interval or ("step" if self.fills_length else "epoch")

    @property
    def monitor(self) -> str | None:
        """The metric set for ReduceLROnPlateau, if any."""
        return (self.lr_scheduler_args or {}).get("monitor")


def _can_fuse(cls: Callable[..., Optimizer], kwargs: dict[str, Any], parameters: list[nn.Parameter]) -> bool:
    """Return whether torch has a fused step for this optimizer and these devices, and the user has not chosen one."""
    is_fusible = isinstance(cls, type) and issubclass(cls, (torch.optim.Adam, torch.optim.SGD))
    is_chosen = {"fused", "foreach", "capturable", "differentiable"} & kwargs.keys()
    devices = {parameter.device.type for parameter in parameters if parameter.is_floating_point()}
    return is_fusible and not is_chosen and devices <= {"cpu", "cuda", "mps"}
