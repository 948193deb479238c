"""Successive halving: train many trials for a few epochs, and only the best of them for longer.

A trial is trained up to a rung, a number of epochs. As soon as it is among the best third of all trials that have
reached that rung, it is promoted: its run is resumed and trained up to the next rung. No trial waits for others, so
several processes stay busy. This is asynchronous successive halving (Li et al. 2020, https://arxiv.org/abs/1810.05934).
"""

import math
from collections.abc import Collection, Mapping, Sequence

_FACTOR = 3  # one in this many trials is promoted, to a rung with this many times the epochs


def rungs(max_epochs: int, min_epochs: int | None = None) -> list[int]:
    """Return the numbers of epochs at which trials are compared; the last is `max_epochs`.

    Args:
        max_epochs: Epochs of a complete training.
        min_epochs: Epochs of the first rung; None for two rungs before the last.

    Example:
        >>> rungs(40)
        [5, 14, 40]
        >>> rungs(5)
        [1, 2, 5]
    """
    first = max(min_epochs or math.ceil(max_epochs / _FACTOR**2), 1)
    result = [max_epochs]
    while (shorter := math.ceil(result[0] / _FACTOR)) >= first and shorter < result[0]:
        result.insert(0, shorter)
    if min_epochs is not None and min_epochs < result[0]:
        result.insert(0, min_epochs)
    return result


def next_promotion(
    scores: Mapping[int, Sequence[float]],
    num_rungs: int,
    can_train: Collection[int],
    all_started: bool,
) -> int | None:
    """Return the trial to promote to its next rung, or None if there is none at present.

    Args:
        scores: The score of each trial at each rung that it has reached; higher is better.
        num_rungs: Number of rungs.
        can_train: The trials that may be promoted: not in training now, and not given up.
        all_started: Whether all trials of the search have been started, and none is in training. Then at least one
            trial is promoted from each rung, even if only one or two trials have reached it.
    """
    for rung in reversed(range(num_rungs - 1)):
        reached = {trial: at[rung] for trial, at in scores.items() if len(at) > rung}
        places = len(reached) // _FACTOR
        if all_started and reached and not any(len(at) > rung + 1 for at in scores.values()):
            places = max(places, 1)
        best = sorted(reached, key=lambda trial: (-reached[trial], trial))[:places]
        for trial in best:
            if trial in can_train and len(scores[trial]) == rung + 1:
                return trial
    return None
