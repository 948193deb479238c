"""Stop training after an epoch, so that it can be resumed later."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from litnets.training.resume.loop_state import find_loop_state


class StopAfterEpoch(Callback):
    """Stop training at the end of an epoch before `max_epochs`.

    Unlike a smaller `max_epochs`, this leaves the length of the learning-rate schedule alone. A run that is stopped
    and resumed ends with the same weights as one that was never stopped.

    Args:
        epoch: The number of epochs after which to stop.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A run that was killed between its last save and its results is resumed with nothing left to train.
        state = find_loop_state(checkpoint)
        if trainer.state.fn == "fit" and state is not None and state["epoch"] >= self.epoch:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_reached(trainer):
            trainer.should_stop = True

    def is_reached(self, trainer: Trainer) -> bool:
        """Return whether the epoch has been completed."""
        epochs: Any = trainer.fit_loop.epoch_progress.current
        return bool(epochs.processed >= self.epoch)
