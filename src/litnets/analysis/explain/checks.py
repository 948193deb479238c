"""Checks of attributions: completeness, and comparison with networks of random weights.

A map that looks the same for a network with random weights shows the input, or the architecture, but not what the
network has learned (Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Sundararajan et al. (2017) recommend that attributions add up to f(x) - f(baseline) within 5%.
MAX_COMPLETENESS_ERROR = 0.05
# The ranks of two maps with this correlation share a quarter of their variance.
MAX_CORRELATION = 0.5
RANDOM_NETWORKS = 5
# A rank correlation of fewer values is mostly chance: with 7 values, one in four exceeds 0.5 in absolute value.
MIN_VALUES = 8


@dataclass(frozen=True)
class Check:
    """The checks of one map.

    Args:
        completeness_error: See `Attribution`; None for methods without this property.
        correlation: The median rank correlation with the maps of networks with random weights.
        is_empty: Whether the map shows nothing: all of its values are the same, or some are not finite.
        judged_correlation: The correlation that decides: that of the map, or, for a map of few values, the median over
            all maps of the method.
    """

    completeness_error: float | None
    correlation: float
    is_empty: bool
    judged_correlation: float

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """Why the map must not be trusted; empty if it passed."""
        failures = []
        if self.is_empty:
            failures.append("shows nothing")
        if self.completeness_error is not None and not self.completeness_error <= MAX_COMPLETENESS_ERROR:
            failures.append(f"incomplete by {self.completeness_error:.0%}")
        if self.judged_correlation >= MAX_CORRELATION:
            failures.append("like random weights")
        return failures


def judge(
    maps: Sequence[Tensor], errors: Sequence[float | None], random_maps: Sequence[Sequence[Tensor]]
) -> list[Check]:
    """Return the checks of the maps of one method.

    Args:
        maps: The map of each input.
        errors: Their completeness errors.
        random_maps: For each input, the maps of the networks with random weights.
    """
    correlations = [_correlation(values, others) for values, others in zip(maps, random_maps, strict=True)]
    overall = median(correlations)
    return [
        Check(error, correlation, is_empty(values), correlation if values.numel() >= MIN_VALUES else overall)
        for values, error, correlation in zip(maps, errors, correlations, strict=True)
    ]


def _correlation(values: Tensor, others: Sequence[Tensor]) -> float:
    """Return the median rank correlation of a map with others, over the positions where not all of them are zero.

    Where all are zero, the architecture reads nothing: for example the other channels, if it forecasts each channel by
    itself. Random networks whose map shows nothing are left out, because Grad-CAM is often empty for them.
    """
    is_read = (torch.stack([values, *others]) != 0).any(0)
    comparable = [random for random in others if not is_empty(random)]
    if int(is_read.sum()) < 2 or not comparable:
        return 0.0
    return median(rank_correlation(values[is_read], random[is_read]) for random in comparable)


def is_empty(values: Tensor) -> bool:
    """Return whether all values of a map are the same, or some are not finite."""
    return bool((values == values.flatten()[0]).all()) or not bool(values.isfinite().all())


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Return Spearman's rank correlation of two maps of the same shape; 0 if one shows nothing."""
    if is_empty(first) or is_empty(second):
        return 0.0
    a, b = ranks(first.flatten().double().numpy()), ranks(second.flatten().double().numpy())
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of values along the first axis, from 1; ties get their mean rank."""
    from scipy.stats import rankdata

    result: NDArray[np.float64] = rankdata(values, axis=0)
    return result


def randomize(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network with random weights, in evaluation mode.

    Each layer is initialized again by its own `reset_parameters`. Parameters of modules without this method are
    shuffled.
    """
    copy = deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in copy.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy.eval()
