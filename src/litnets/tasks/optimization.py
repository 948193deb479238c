"""Optimisers and learning rate schedules from plain names and numbers."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import ParamsT

from litnets.errors import InputError
from litnets.tasks.registry import check_arguments, find_class, public_classes

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


class ConvMuon(Optimizer):
    """SGD with Nesterov's momentum, except for the filters of convolutions: those follow Muon (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon). With a filter in each row, an update is about the nearest matrix whose rows or
    columns are orthogonal, so that one learning rate fits all layers, and the filters keep a mean square norm of 1.

    Args:
        params: Parameters, or groups of them; those of four dimensions are filters.
        lr: Learning rate of all others.
        momentum: Momentum of all others.
        weight_decay: Weight decay of all others, as in SGD.
        conv_lr: Learning rate of the filters.
        conv_momentum: Momentum of the filters.

    Raises:
        ValueError: A rate below 0, or a momentum outside [0, 1).
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
                raise ValueError(f"{name}: expected a number from 0 up, got {rate}")
        for name, share in (("momentum", momentum), ("conv_momentum", conv_momentum)):
            if not 0 <= share < 1:
                raise ValueError(f"{name}: expected a number in [0, 1), got {share}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        # Each kind in groups of its own, whose rates a schedule changes in proportion.
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
                        self._move(parameter, group["lr"], group["momentum"], group["weight_decay"])
        return loss

    def _move(self, parameter: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        gradient, is_filter = parameter.grad, parameter.ndim == 4
        assert gradient is not None
        if not is_filter and weight_decay:
            gradient = gradient.add(parameter, alpha=weight_decay)
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        gathered = state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = gradient.add(gathered, alpha=momentum)
        if is_filter:
            update = orthogonalized(update.flatten(1)).view_as(parameter)
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.sub_(update, alpha=lr)


def orthogonalized(matrix: Tensor, steps: int = 3) -> Tensor:
    """About `U V'` of the matrix `U S V'`, in bfloat16: its singular values become some between 0.5 and 1.5, those that
    are tiny beside the largest apart. By Newton-Schulz's iteration, whose polynomial is Jordan's."""
    x: Tensor = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)  # no singular value above 1
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


_OWN_OPTIMIZERS: dict[str, type[Optimizer]] = {"SGDW": SGDW, "ConvMuon": ConvMuon}
_OWN_SCHEDULERS: dict[str, type[LRScheduler]] = {"WarmupCosineLR": WarmupCosineLR}
_LENGTH_ARGUMENTS["WarmupCosineLR"] = "total_steps"


@dataclass(frozen=True)
class Optimization:
    """How a network is optimised. The fields are the arguments of the same names of `litnets.tasks.Task`.

    Raises:
        InputError: A name that torch does not have, an argument that the class does not take, or a value that it
            refuses or cannot make a step with; before any training.
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
            self._step(optimizer, scheduler, dummy)
        except InputError:
            raise
        except ArithmeticError as error:
            given = self.lr_scheduler_args if self.lr_scheduler else self.optimizer_args
            raise InputError(
                f"{self.lr_scheduler or self.optimizer} cannot make a step with {given}: {error}; is a length 0?"
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"optimizer or lr_scheduler: {' '.join(str(error).split())}") from error

    def _step(self, optimizer: Optimizer, scheduler: LRScheduler | None, dummy: nn.Module) -> None:
        """One step of both: what they refuse to do is seen now, and not when the training has begun."""
        # Your own one, and what a graph of a GPU is to capture, may work on a GPU only.
        if "." not in self.optimizer and not (self.optimizer_args or {}).get("capturable"):
            for parameter in dummy.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step(lambda: 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the optimiser has made no step
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                scheduler.step(0.0)
            elif scheduler is not None:
                scheduler.step()

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
        if name in ("OneCycleLR", "CyclicLR"):
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
