"""Build optimizers and learning-rate schedules from names and numbers."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import ParamsT

from litnets.errors import InputError
from litnets.internals import disable_amp_scaling_in_step
from litnets.safety.resolving import resolve_class
from litnets.tasks.registry import check_arguments, public_classes

# The arguments that set the length of torch's schedules, in updates of the learning rate.
_LENGTH_ARGUMENTS = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max", "PolynomialLR": "total_iters"}


class WarmupCosineLR(LRScheduler):
    """Linear warm-up from zero, then half a cosine down to zero (Loshchilov and Hutter 2017, without restarts).

    Args:
        optimizer: The optimizer whose learning rate is set.
        total_steps: Updates of the learning rate until it reaches zero.
        warmup: Fraction of `total_steps` spent on the warm-up, in [0, 1).

    Raises:
        ValueError: A warm-up outside [0, 1).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.1, last_epoch: int = -1) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup: expected a fraction of all steps in [0, 1), got {warmup}")
        self.total_steps = total_steps
        self.warmup_steps = min(round(warmup * total_steps), total_steps - 1)  # at least the last step decays
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        step = min(self.last_epoch, self.total_steps)
        if step < self.warmup_steps:
            # (step + 1), so that the first step has a learning rate above zero.
            factor = (step + 1) / (self.warmup_steps + 1)
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)))
        return [float(base) * factor for base in self.base_lrs]


class SGDW(torch.optim.SGD):
    """SGD with decoupled weight decay (Loshchilov and Hutter 2019). It takes the arguments of SGD.

    Each step subtracts `lr * weight_decay` times the weights from them. In SGD the decay is part of the gradient, so it
    also accumulates in the momentum.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:  # the gradient belongs to the weights before the decay
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


class ConvMuon(Optimizer):
    """SGD with Nesterov momentum, and Muon for the filters of convolutions.

    Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) orthogonalizes an update: with one filter per row, the
    update becomes approximately the nearest matrix with orthogonal rows or columns. One learning rate then fits all
    layers. The filters keep a mean square norm of 1.

    Args:
        params: Parameters, or groups of them. Those with four dimensions are filters.
        lr: Learning rate of the other parameters.
        momentum: Momentum of the other parameters.
        weight_decay: Weight decay of the other parameters, as in SGD.
        conv_lr: Learning rate of the filters.
        conv_momentum: Momentum of the filters.

    Raises:
        ValueError: A learning rate or weight decay below 0, or a momentum outside [0, 1).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        conv_lr: float = 0.1,
        conv_momentum: float = 0.6,
    ) -> None:
        for name, rate in (("lr", lr), ("conv_lr", conv_lr), ("weight_decay", weight_decay)):
            if rate < 0:
                raise ValueError(f"{name}: expected at least 0, got {rate}")
        for name, value in (("momentum", momentum), ("conv_momentum", conv_momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name}: expected a number in [0, 1), got {value}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        # Filters get separate groups. A schedule scales the learning rates of all groups in proportion.
        groups, self.param_groups = self.param_groups, []
        for group in groups:
            filters = [p for p in group["params"] if p.ndim == 4]
            others = [p for p in group["params"] if p.ndim != 4]
            if others:
                self.add_param_group({**group, "params": others})
            if filters:
                self.add_param_group({**group, "params": filters, "lr": conv_lr, "momentum": conv_momentum})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group["lr"], group["momentum"], group["weight_decay"])
        return loss

    def _update(self, parameter: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        gradient, is_filter = parameter.grad, parameter.ndim == 4
        assert gradient is not None
        if not is_filter and weight_decay:
            gradient = gradient.add(parameter, alpha=weight_decay)
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum_buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = gradient.add(momentum_buffer, alpha=momentum)
        if is_filter:
            update = orthogonalized(update.flatten(1)).view_as(parameter)
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.sub_(update, alpha=lr)


def orthogonalized(matrix: Tensor, steps: int = 3) -> Tensor:
    """Return approximately `U V'` of the matrix `U S V'`, in bfloat16, by a Newton-Schulz iteration.

    With Jordan's polynomial, singular values end between 0.5 and 1.5, except those that are tiny beside the largest.
    """
    x: Tensor = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)  # now no singular value is above 1
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


_LITNETS_OPTIMIZERS: dict[str, type[Optimizer]] = {"SGDW": SGDW, "ConvMuon": ConvMuon}
_LITNETS_SCHEDULERS: dict[str, type[LRScheduler]] = {"WarmupCosineLR": WarmupCosineLR}
_LENGTH_ARGUMENTS["WarmupCosineLR"] = "total_steps"


@dataclass(frozen=True)
class Optimization:
    """How a network is optimized. The fields are the arguments of `litnets.tasks.Task` with the same names.

    Optimizer and schedule are built once for a dummy network and make a step, so that a mistake is reported before any
    training.

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

    def __post_init__(self) -> None:
        dummy = nn.Linear(2, 2)
        try:
            optimizer = self.build_optimizer(dummy.named_parameters())
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
        known = public_classes(torch.optim, Optimizer) | _LITNETS_OPTIMIZERS
        cls: Callable[..., Optimizer] = resolve_class("optimizer", self.optimizer, Optimizer, known)
        return cls

    @cached_property
    def _scheduler_class(self) -> Callable[..., LRScheduler]:
        known = public_classes(lr_scheduler, LRScheduler) | _LITNETS_SCHEDULERS
        cls: Callable[..., LRScheduler] = resolve_class("lr_scheduler", self.lr_scheduler, LRScheduler, known)
        return cls

    def build_optimizer(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        """Build the optimizer. Arguments that were not set keep the optimizer's own defaults.

        Biases and normalization (every parameter with fewer than two dimensions) get no weight decay. The step is fused
        (one call for all parameters) where torch supports it.
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
        if not takes_decay:
            return cls(parameters, **kwargs)
        decayed = [parameter for parameter in parameters if parameter.ndim >= 2]
        rest = [parameter for parameter in parameters if parameter.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        optimizer = cls([group for group in groups if group["params"]], **kwargs)
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
                raise InputError(f"lr_scheduler {name} needs to know how long training is; give --trainer.max_epochs")
            kwargs[_LENGTH_ARGUMENTS[name]] = max(1, int(length))
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
        """Whether the schedule's length comes from the trainer."""
        argument = _LENGTH_ARGUMENTS.get(self.lr_scheduler or "")
        arguments = self.lr_scheduler_args or {}
        return argument is not None and argument not in arguments and "epochs" not in arguments

    @property
    def interval(self) -> Literal["step", "epoch"]:
        """How often the schedule is updated: `lr_scheduler_interval` if set, else each step if its length comes from
        the trainer, else each epoch. ReduceLROnPlateau is always updated once per epoch, as its metric is."""
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
