"""The learning-rate range test (Smith 2017): raise the learning rate in every step, and watch the loss.

The loss falls while the learning rate is large enough to learn and small enough to be stable. A tenth of the learning
rate with the lowest loss is a good start.
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.errors import InputError

_SMOOTHING = 0.9  # weight of the earlier losses in the moving average that ends the test
_MIN_STEPS = 10  # before that, the average depends on a few batches
_DIVERGED = 4.0  # the test ends when this average exceeds its lowest value by this factor
_WINDOW = 0.03  # standard deviation of the Gaussian that smooths a curve, as a fraction of its range
_MIN_CHANGE = 0.05  # a smaller fall or rise, as a fraction of the first loss, counts as noise
_MARGIN = 10.0  # the suggestion is the learning rate with the lowest loss, divided by this


class RaiseLearningRate(Callback):
    """Raise the learning rate exponentially from step to step, and record the loss. The schedule is switched off.

    Args:
        low: The first learning rate.
        high: The last learning rate.
        steps: Number of steps.

    Raises:
        InputError: The training step returns no loss.
    """

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
        self.losses: list[float] = []
        self._average, self._lowest = 0.0, math.inf
        self._factors: list[list[float]] = []  # of the groups of each optimizer, such as those of `layer_decay`

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.lr_scheduler_configs = []
        for optimizer in trainer.optimizers:
            rates = [group["lr"] for group in optimizer.param_groups]
            self._factors.append([rate / max(rates) for rate in rates])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        rate = self.rates[min(trainer.global_step, len(self.rates) - 1)]
        for optimizer, factors in zip(trainer.optimizers, self._factors, strict=True):
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            raise InputError("lr: the training step returns no loss to watch")
        if trainer.global_step > len(self.losses):  # with accumulated gradients, the last batch of a step
            self.losses.append(float(loss.detach().mean()))
            self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * self.losses[-1]
            average = self._average / (1 - _SMOOTHING ** len(self.losses))  # corrected for its start
            self._lowest = min(self._lowest, average)
            has_diverged = len(self.losses) > _MIN_STEPS and average > _DIVERGED * self._lowest > 0
            if has_diverged or not math.isfinite(average):
                trainer.should_stop = True


@dataclass(frozen=True)
class Curve:
    """The losses of one seed.

    Args:
        seed: The seed.
        rates: The learning rate of each step.
        losses: The loss of each step. The last one may not be finite.
    """

    seed: int
    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: list[float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "smoothed", smooth(self.losses))

    @property
    def drop(self) -> float:
        """How far the loss falls, as a fraction of the first loss."""
        first = self.smoothed[0]
        return (first - min(self._finite())) / abs(first) if first else 0.0

    @property
    def rise(self) -> float:
        """How far the loss rises above the first one, as a fraction of it; infinite if the last loss is not finite."""
        first = self.smoothed[0]
        if not math.isfinite(self.losses[-1]):
            return math.inf
        return (max(self.smoothed) - first) / abs(first) if first else 0.0

    @property
    def suggestion(self) -> float | None:
        """A tenth of the learning rate with the lowest loss; None if the loss does not fall."""
        if self.drop < _MIN_CHANGE:
            return None
        return self.rates[self.smoothed.index(min(self._finite()))] / _MARGIN

    def _finite(self) -> list[float]:
        return [value for value in self.smoothed if math.isfinite(value)] or [math.inf]


@dataclass(frozen=True)
class Suggestion:
    """What the curves of several seeds suggest.

    Args:
        rate: The median of the suggestions; None if there are none.
        low: The lowest suggestion of a seed.
        high: The highest suggestion of a seed.
        diverges: Whether the loss rises above its first value at high learning rates.
    """

    rate: float | None
    low: float
    high: float
    diverges: bool

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> "Suggestion":
        """Combine the suggestions of several seeds. There is none unless more than half of the seeds have one."""
        rates = [curve.suggestion for curve in curves if curve.suggestion is not None]
        diverges = any(curve.rise > _MIN_CHANGE for curve in curves)
        if 2 * len(rates) <= len(curves):
            return cls(None, math.nan, math.nan, diverges)
        return cls(float(f"{statistics.median_low(rates):.2g}"), min(rates), max(rates), diverges)

    def describe(self) -> str:
        """Return the suggestion in one line."""
        if self.rate is not None:
            line = f"suggestion: --model.lr {self.rate:g} ({self.low:.2g} to {self.high:.2g} over the seeds)"
            return line + ("; the seeds disagree" if self.high > _MARGIN * self.low else "")
        if self.diverges:
            return "no learning rate lowers the loss within these steps, and high ones raise it; increase --steps"
        return "flat: the learning rate does not matter here"


def to_csv(curves: Sequence[Curve]) -> str:
    """Return the curves as CSV, with a row for each step of each seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seed", "step", "lr", "loss", "smoothed"])
    for curve in curves:
        for step, row in enumerate(zip(curve.rates, curve.losses, curve.smoothed, strict=True), start=1):
            writer.writerow([curve.seed, step, *row])
    return text.getvalue()


def smooth(losses: Sequence[float]) -> list[float]:
    """Smooth the losses by a Gaussian, which does not shift the curve.

    Losses that are not finite become NaN, and do not affect the others.
    """
    values = np.asarray(losses, float)
    is_finite = np.isfinite(values)
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(_WINDOW * len(values), 0.5)) ** 2) * is_finite
    averages = weights @ np.where(is_finite, values, 0.0) / np.maximum(weights.sum(1), 1e-300)
    return [float(average) for average in np.where(is_finite, averages, math.nan)]
