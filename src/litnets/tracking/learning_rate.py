"""Log the learning rate."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from litnets.internals import LearningRateColumns


class CompactLearningRateMonitor(LearningRateColumns, LearningRateMonitor):
    """Log the learning rate as `lr`. Parameter groups have their own columns, such as `lr/pg1`, only if their rates
    differ."""

    def columns(self, trainer: Trainer, interval: str) -> dict[str, float]:
        values = super().columns(trainer, interval)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        # Groups whose initial rates differ may have equal ones at times, such as 0 at the end of a schedule.
        if len({(group.get("initial_lr"), group["lr"]) for group in groups}) != 1:
            return values
        rates = [name for name in values if name in self.lrs]
        others = {name: value for name, value in values.items() if name not in rates}
        return {"lr": values[rates[0]], **others} if rates else others
