"""Log the learning rate."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from litnets.internals import LearningRateColumns


class CompactLearningRateMonitor(LearningRateColumns, LearningRateMonitor):
    """Log the learning rate as `lr`. Parameter groups have their own columns, such as `lr/pg1`, only if their rates
    differ. The groups of a stage share one, such as `lr/layer4`."""

    def columns(self, trainer: Trainer, interval: str) -> dict[str, float]:
        values = super().columns(trainer, interval)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        rates = {name: value for name, value in values.items() if name in self.lrs}
        others = {name: value for name, value in values.items() if name not in rates}
        # Groups whose initial rates differ may have equal ones at times, such as 0 at the end of a schedule.
        if len({(group.get("initial_lr"), group["lr"]) for group in groups}) == 1:
            return {"lr": next(iter(rates.values())), **others} if rates else others
        if len(rates) == len(groups) and all("stage" in group for group in groups):
            return _by_stage(rates, groups) | others
        return values


def _by_stage(rates: Mapping[str, float], groups: list[dict[str, Any]]) -> dict[str, float]:
    """Name the columns of the learning rates by the stages of the groups."""
    columns: dict[str, float] = {}
    initial_rates: dict[str, Any] = {}
    for (name, rate), group in zip(rates.items(), groups, strict=True):
        column, initial_rate = f"{name.rpartition('/')[0]}/{group['stage']}", group.get("initial_lr")
        # ConvMuon has another learning rate for the filters of a stage; they keep their number.
        is_first = initial_rates.setdefault(column, initial_rate) == initial_rate
        columns[column if is_first else name] = rate
    return columns
