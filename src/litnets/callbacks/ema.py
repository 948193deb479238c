"""EMA: an exponential moving average of the weights, which is validated, tested and kept as the best checkpoint."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from litnets.errors import InputError


class EMA(WeightAveraging):
    """Keep an exponential moving average of the weights, `average = decay * average + (1 - decay) * weights`.

        litnets fit --config configs/digits_cnn.yaml --trainer.callbacks EMA --trainer.callbacks.decay 0.99

    The running statistics of batch normalization are averaged as well. Validation and test use the average. The weights
    in a checkpoint are the average; the weights that training resumes from are stored beside them.

    During the first updates the decay is (1 + updates) / (10 + updates) if that is smaller, so that the initial weights
    do not dominate the average.

    Args:
        decay: Fraction of the average that an update keeps, in [0, 1). 0.999 averages over about 1000 updates.
        every_n_steps: Number of optimizer steps between two updates.

    Raises:
        InputError: `decay` is outside [0, 1), or `every_n_steps` is below 1.
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
            # Lightning copies the module here, before it moves it to the device. Without this line the average would
            # stay on the CPU, and each update would wait for a copy.
            pl_module.to(trainer.strategy.root_device)
            # The module does not have its final precision yet either. For bfloat16 that is an advantage: a float32
            # average still follows changes that bfloat16 would round away. Float64 weights, however, are swapped with
            # the average during validation and must not be rounded.
            if trainer.precision == "64-true":
                trainer.precision_plugin.convert_module(pl_module)
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        # Never at the end of an epoch: validation, which comes before, would have used another average.
        return step_idx is not None and step_idx % self.every_n_steps == 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        super().on_validation_epoch_start(trainer, pl_module)
        if trainer.world_size > 1:
            # Each rank has its own batch statistics; those of rank 0 are saved.
            buffers = list(pl_module.buffers())
            for buffer, first in zip(buffers, trainer.strategy.broadcast([b.cpu() for b in buffers]), strict=True):
                buffer.copy_(first)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass  # Lightning would replace the weights by the average here, before last.ckpt is saved

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The best checkpoint is also loaded for testing, where Lightning would replace the average by the weights that
        # training resumes from.
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _average(self, averages: list[Any], weights: list[Any], updates: Any) -> None:
        """Update the average in place. Lightning makes the first update itself, by copying."""
        count = int(updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        average: Tensor
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight.to(average.dtype), 1 - decay)
            else:  # a counter of batches, or a flag
                average.copy_(weight)
