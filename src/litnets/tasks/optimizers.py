"""Optimizers and learning-rate schedules that torch does not have."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import ParamsT


class WarmupCosineLR(LRScheduler):
    """Linear warm-up, then cosine decay to zero (Loshchilov and Hutter 2017, without restarts).

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
        self.warmup_steps = min(round(warmup * total_steps), total_steps - 1)  # so that at least the last step decays
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

    Each step first multiplies the weights by `1 - lr * weight_decay`. In SGD the decay is part of the gradient, so it
    also accumulates in the momentum.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:  # compute the gradient before the weights are decayed
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
    layers. Before each update, the filters are rescaled so that the mean of their squared norms is 1.

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

    With Jordan's polynomial, singular values end between 0.5 and 1.5, except those that are far smaller
    than the largest.
    """
    x: Tensor = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)  # now no singular value is above 1
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
