"""EMA: an average of the weights over the last steps, which is what is validated, kept as the best, and tested."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from litnets.errors import InputError


class EMA(WeightAveraging):
    """Averages the weights while they are trained, `average = decay * average + (1 - decay) * weights`, the statistics
    of batch normalisation as well. Validation and test see the average; a checkpoint's weights are the average, with
    those that training goes on from beside them.

    After few updates the decay is (1 + updates) / (10 + updates) if that is less, so that the average is not held back
    by the weights that training began with.

    Args:
        decay: How much of the average is kept by an update, in [0, 1): 0.999 looks back on about 1000 updates.
        every_n_steps: Steps of the optimiser from one update to the next.

    Raises:
        InputError: A decay that is no share, or an interval that is none.
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"EMA: decay: expected a number in [0, 1), got {decay}")
        if every_n_steps < 1:
            raise InputError(f"EMA: every_n_steps: expected at least 1, got {every_n_steps}")
        super().__init__(multi_avg_fn=self._average)
        self.decay, self.every_n_steps = decay, every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            # Lightning copies the module here, before it moves it: the average of a GPU's weights would stay on the
            # CPU, and each update would wait for a copy.
            pl_module.to(trainer.strategy.root_device)
            # Nor has it its precision yet. An average in float32 moves where one in bfloat16 would stand still; but it
            # also keeps the weights while it is validated, and must not round them.
            if trainer.precision == "64-true":
                trainer.precision_plugin.convert_module(pl_module)
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        # Never at the end of an epoch: that comes after the validation, which would have seen another average.
        return step_idx is not None and step_idx % self.every_n_steps == 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        super().on_validation_epoch_start(trainer, pl_module)
        if trainer.world_size > 1:
            # Each process has statistics of its own; those of the first one are saved.
            buffers = list(pl_module.buffers())
            for buffer, first in zip(buffers, trainer.strategy.broadcast([b.cpu() for b in buffers]), strict=True):
                buffer.copy_(first)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass  # Lightning puts the average in place of the weights here, and last.ckpt is still to be saved

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The best checkpoint is loaded to be tested, too: Lightning would test the weights beside the average.
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _average(self, averages: list[Any], weights: list[Any], updates: Any) -> None:
        """Lightning's first update copies; this is for those after it."""
        count = int(updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        average: Tensor
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight.to(average.dtype), 1 - decay)
            else:  # a count of batches, a flag
                average.copy_(weight)
