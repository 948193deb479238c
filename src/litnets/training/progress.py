"""What a person sees of training: a bar in a terminal, a line an epoch elsewhere."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

from litnets.training.checkpoints.saving import checkpoint_of


def monitored_metric(trainer: Trainer) -> str | None:
    """The metric by which the best checkpoint is chosen."""
    checkpoint = checkpoint_of(trainer)
    return None if checkpoint is None else checkpoint.monitor


class Bar(RichProgressBar):
    """A bar with the loss and the watched metric.

    Args:
        refresh_rate: Batches between two drawings; drawing each one costs as much as a small network's step.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        known = trainer.callback_metrics
        loss = "train/loss_step" if "train/loss_step" in known else "train/loss"
        names = (loss, monitored_metric(trainer), "val/loss")
        return {name: f"{known[name]:.4f}" for name in dict.fromkeys(names) if name is not None and name in known}


class EpochSummary(ProgressBar):
    """One line an epoch, for files and pipes; a star marks the best epoch so far."""

    def __init__(self) -> None:
        super().__init__()
        self._start = 0.0

    def disable(self) -> None:
        """Called in every process but the first, which alone writes anyway."""

    def enable(self) -> None:
        """The opposite of `disable`."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.epoch_loop.restarting:  # an epoch that is gone on with does not start again
            self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The module logs its training metrics after every callback's on_train_epoch_end, so a line is written when
        # the next epoch starts.
        self._line(trainer, trainer.current_epoch)
        self._start = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._line(trainer, trainer.current_epoch)
        self._start = 0.0

    def _line(self, trainer: Trainer, epochs: int) -> None:
        known, name = trainer.callback_metrics, monitored_metric(trainer)
        if not self._start or not trainer.is_global_zero:
            return
        own = getattr(trainer.lightning_module, "monitor", None)  # that of the task, which tells more than a loss
        names = dict.fromkeys(("train/loss", "val/loss", name, own))
        shown = {key: known[key].item() for key in names if key is not None and key in known}
        checkpoint = checkpoint_of(trainer)
        best = checkpoint is not None and checkpoint.best_epoch == epochs - 1
        total = trainer.max_epochs
        of = f"/{total}" if total is not None and total > 0 else ""
        values = "  ".join(f"{key} {value:.4f}" for key, value in shown.items())
        seconds = time.monotonic() - self._start
        print(
            f"epoch {epochs:>{len(of) - 1 if of else 1}}{of}  {values}  {seconds:.1f} s{'  *' if best else ''}",
            flush=True,
        )
