"""Keep the weights of evenly spaced epochs, to show how the predictions change during training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.internals import dump_checkpoint, is_last_batch_ready
from litnets.runs.folder import Run
from litnets.runs.spacing import evenly_spaced

MAX_BYTES = 1_000_000_000  # of all kept epochs

# The parts of a checkpoint that a network needs for predictions, besides the state of its DataModule.
_PARTS = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "hparams_name", "hyper_parameters")


class KeepEpochs(Callback):
    """Save the weights after evenly spaced epochs into the folder `epochs` of the run; epoch 0 has the initial weights.

    When there are more files than the limit, every second one is removed. A resumed run has the same files as an
    uninterrupted one: it first removes the files of later epochs, which it trains again.

    Args:
        run: The run.
        limit: Number of epochs to keep, at least 2. Fewer are kept if they would take more than 1 GB.
    """

    def __init__(self, run: Run, limit: int) -> None:
        self.run = run
        self.limit = limit

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        size = sum(value.nbytes for value in pl_module.state_dict().values() if isinstance(value, Tensor))
        affordable = MAX_BYTES // max(size, 1)
        if affordable < self.limit:
            self.limit = affordable if affordable > 1 else 0
            if trainer.is_global_zero:
                what = f"{affordable} epochs" if self.limit else "no epochs"
                print(f"keep_epochs: keeps {what}, because one set of weights takes {size / 1e6:,.0f} MB (limit: 1 GB)")
        if trainer.global_step == 0:
            self._keep(trainer, 0)
        elif trainer.is_global_zero:
            self._remove(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_last_batch_ready(trainer.fit_loop.epoch_loop):  # otherwise a resumed run continues the epoch
            self._keep(trainer, trainer.current_epoch + 1)

    def _keep(self, trainer: Trainer, epoch: int) -> None:
        """Save the weights if this is an epoch to keep, and remove the files of epochs that are no longer kept. Every
        process must call this."""
        if self.limit and epoch in evenly_spaced(epoch, self.limit):
            content: dict[str, Any] = dump_checkpoint(trainer)
            names = (*_PARTS, type(trainer.datamodule).__qualname__)  # type: ignore[attr-defined]
            weights = {name: content[name] for name in names if name in content}
            trainer.strategy.save_checkpoint(weights, self.run.kept_epoch(epoch))
        if trainer.is_global_zero:
            self._remove(epoch)

    def _remove(self, epoch: int) -> None:
        """Remove the files of the epochs that are not kept after `epoch` epochs."""
        keeps = evenly_spaced(epoch, self.limit) if self.limit else ()
        for number, path in self.run.kept_epochs().items():
            if number not in keeps:
                path.unlink()
