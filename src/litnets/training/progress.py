"""Progress of training: a progress bar in a terminal or notebook, one line per epoch elsewhere."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

from litnets.internals import EpochDescription
from litnets.training.checkpoints.saving import checkpoint_of


def monitored_metric(trainer: Trainer) -> str | None:
    """Return the metric that selects the best checkpoint."""
    checkpoint = checkpoint_of(trainer)
    return None if checkpoint is None else checkpoint.monitor


def choose_progress_bar() -> ProgressBar:
    """Return the progress bar that fits where the output goes."""
    if sys.stdout.isatty():
        return TrainingProgressBar()
    return NotebookProgressBar() if hasattr(sys, "ps1") else EpochSummary()  # Python sets ps1 if it is interactive


class TrainingProgressBar(EpochDescription, RichProgressBar):
    """A progress bar that shows the loss and the monitored metric. It counts epochs from 1, like all that people read.

    Args:
        refresh_rate: Batches between two updates; one update takes as long as a step of a small network.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def describe_epoch(self, epoch: int) -> str:
        return _describe_epoch(self.trainer, epoch).ljust(len(self.validation_description))  # or the bar would move

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return _shown_metrics(trainer)


class NotebookProgressBar(TQDMProgressBar):
    """The same for notebooks: a widget if ipywidgets is installed, otherwise text.

    Args:
        refresh_rate: Batches between two updates.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(_describe_epoch(trainer, trainer.current_epoch))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return _shown_metrics(trainer)


def _describe_epoch(trainer: Trainer, epoch: int) -> str:
    total = trainer.max_epochs
    return f"Epoch {epoch + 1}" + (f"/{total}" if total is not None and total > 0 else "")


def _shown_metrics(trainer: Trainer) -> dict[str, str]:
    metrics = trainer.callback_metrics
    loss = "train/loss_step" if "train/loss_step" in metrics else "train/loss"
    names = (loss, monitored_metric(trainer), "val/loss")
    return {name: f"{metrics[name]:.4f}" for name in dict.fromkeys(names) if name is not None and name in metrics}


class EpochSummary(ProgressBar):
    """Print one line per epoch, for files and pipes; a star marks the best epoch so far."""

    def __init__(self) -> None:
        super().__init__()
        self._start = 0.0

    def disable(self) -> None:
        """Do nothing. Lightning calls this in every process but the first, which is the only one that prints."""

    def enable(self) -> None:
        """Do nothing, as in `disable`."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.epoch_loop.restarting:  # on_train_epoch_start is not called for a resumed epoch
            self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The module logs its training metrics after the callbacks' on_train_epoch_end, so the line of an epoch is
        # printed when the next one starts.
        self._print_epoch(trainer, trainer.current_epoch)
        self._start = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print_epoch(trainer, trainer.current_epoch)
        self._start = 0.0

    def _print_epoch(self, trainer: Trainer, epochs: int) -> None:
        metrics, monitored = trainer.callback_metrics, monitored_metric(trainer)
        if not self._start or not trainer.is_global_zero:
            return
        task_metric = getattr(trainer.lightning_module, "monitor", None)  # more telling than a loss
        names = dict.fromkeys(("train/loss", "val/loss", monitored, task_metric))
        shown = {name: metrics[name].item() for name in names if name is not None and name in metrics}
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
