"""Parameter groups of an optimizer: which parameters are decayed, and how fast each stage of a network learns."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from litnets.nets.stages import stages


class StageRate(NamedTuple):
    """How fast the parameters of a stage learn."""

    stage: str
    factor: float  # of the learning rate


def stage_rates(
    net: nn.Module, layer_decay: float | None, factors: Mapping[str, float]
) -> dict[nn.Parameter, StageRate]:
    """Return how fast each parameter of a network learns; empty if all learn equally fast.

    Args:
        net: The network.
        layer_decay: Learning rate of a stage divided by that of the stage after it.
        factors: Further factors of the learning rate, by name of the stage.
    """
    if layer_decay is None and not factors:
        return {}
    decay = 1.0 if layer_decay is None else layer_decay
    return {
        parameter: StageRate(stage.name, decay**depth * factors.get(stage.name, 1.0))
        for depth, stage in enumerate(stages(net))
        for parameter in stage.parameters
    }


def parameter_groups(
    parameters: list[nn.Parameter], takes_decay: bool, rates: Mapping[nn.Parameter, StageRate]
) -> list[dict[str, Any]]:
    """Return groups for an optimizer; see `scale_learning_rates` for the factors in them.

    Args:
        parameters: The parameters.
        takes_decay: Whether the optimizer has an argument `weight_decay`. Biases and normalization (every parameter
            with fewer than two dimensions) then get none.
        rates: How fast the parameters of the network learn; the groups then follow its stages from the output to the
            input. Parameters that are not in it, such as those of a loss, form the stage `other`.
    """
    by_stage: dict[StageRate, list[nn.Parameter]] = {rate: [] for rate in rates.values()}
    for parameter in parameters:
        by_stage.setdefault(rates.get(parameter, StageRate("other", 1.0)), []).append(parameter)
    groups = []
    for rate, members in by_stage.items():
        labels = rate._asdict() if rates else {}
        if takes_decay:
            groups.append({"params": [p for p in members if p.ndim >= 2], **labels})
            groups.append({"params": [p for p in members if p.ndim < 2], "weight_decay": 0.0, **labels})
        else:
            groups.append({"params": members, **labels})
    return [group for group in groups if group["params"]]


def learning_rate_factors(optimizer: Optimizer) -> list[float]:
    """Return the factor of the learning rate of each parameter group."""
    return [group.get("factor", 1.0) for group in optimizer.param_groups]


def scale_learning_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group by its factor."""
    for group in optimizer.param_groups:
        if "factor" in group:
            group["lr"] = group["lr"] * group["factor"]
