"""Which units of the last hidden layer respond to which class, after network dissection (Bau et al. 2017).

`dissect` finds, for each class, the unit whose activation separates it best from all others. The samples are halved:
one half chooses the unit, and the other one reports its AUC, because the best of many units is best partly by chance.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from litnets.analysis.explain.checks import ranks
from litnets.analysis.explain.layers import run

MAX_SAMPLES = 2000
EXCITING = 5  # inputs that are shown for a unit

Batches = Callable[[], Iterable[tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Unit:
    """The unit that separates a class best.

    Args:
        class_index: The class.
        index: The unit.
        auc: Area under the ROC curve of its activation, the class against the rest.
        random_auc: The same for the best unit of the same layer of a network with random weights.
        exciting: Indices of the samples with its highest activations.
    """

    class_index: int
    index: int
    auc: float
    random_auc: float
    exciting: list[int]

    @property
    def passed(self) -> bool:
        """Whether the unit separates the class better than one with random weights."""
        return self.auc > self.random_auc


def dissect(network: nn.Module, random: nn.Module, layer: str, batches: Batches, targets: Tensor) -> list[Unit]:
    """Return the best unit of each class that has samples in both halves.

    Args:
        network: The network.
        random: The same network with random weights.
        layer: Name of the linear layer that reads the units.
        batches: Returns an iterator over the inputs of the network for each batch.
        targets: Of each sample, `(N, classes)`, whether it belongs to each class.
    """
    activations = read_units(network, layer, batches())
    random_activations = read_units(random, layer, batches())
    is_class = targets.bool().numpy()
    order = np.random.default_rng(0).permutation(len(is_class))
    choosing, reporting = order[::2], order[1::2]
    units = []
    for index in range(is_class.shape[1]):
        members = is_class[:, index]
        if not all(0 < members[half].sum() < len(half) for half in (choosing, reporting)):
            continue
        best, auc = _best(activations, members, choosing, reporting)
        _, random_auc = _best(random_activations, members, choosing, reporting)
        exciting = activations[:, best].argsort(kind="stable")[::-1][:EXCITING].tolist()
        units.append(Unit(index, best, auc, random_auc, exciting))
    return units


def _best(
    activations: NDArray[np.float64], members: NDArray[np.bool_], choosing: NDArray[Any], reporting: NDArray[Any]
) -> tuple[int, float]:
    """Return the unit with the highest AUC on one half of the samples, and its AUC on the other half."""
    best = int(area_under_roc(activations[choosing], members[choosing]).argmax())
    return best, float(area_under_roc(activations[reporting][:, [best]], members[reporting])[0])


def area_under_roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each column of scores, by the Mann-Whitney statistic.

    Args:
        scores: `(N, columns)`.
        positive: `(N,)`, of which some are true and some are false.
    """
    count = positive.sum()
    rank_sums = ranks(scores)[positive].sum(0)
    areas: NDArray[np.float64] = (rank_sums - count * (count + 1) / 2) / (count * (len(positive) - count))
    return areas


def read_units(network: nn.Module, layer: str, batches: Iterable[tuple[Tensor, ...]]) -> NDArray[np.float64]:
    """Return the inputs of a layer for each sample, `(N, units)`."""
    parts: list[Tensor] = []

    def record(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        parts.append(arguments[0].double().cpu())

    handle = network.get_submodule(layer).register_forward_pre_hook(record)
    try:
        with torch.no_grad():
            for inputs in batches:
                run(network, inputs)
    finally:
        handle.remove()
    units: NDArray[np.float64] = torch.cat(parts).numpy()
    return units
