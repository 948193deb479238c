"""Write the results of a training into the run's results.json."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.runs.folder import Run
from litnets.training.checkpoints.saving import checkpoint_of


class WriteResults(Callback):
    """Writes the best validation score, epochs, seconds, samples a second and parameters when training ends.

    Args:
        run: The run; every process takes over the folder of the first.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._samples = 0
        self._batch_seconds = 0.0
        self._batch_start = 0.0
        self._start = 0.0
        self._earlier = 0.0  # seconds before the run was gone on with

    @property
    def state_key(self) -> str:
        return "Record"  # its name until 0.1; checkpoints of that time resume

    def state_dict(self) -> dict[str, Any]:
        seconds = self._batch_start - self._start
        return {"samples": self._samples, "batch_seconds": self._batch_seconds, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._samples, self._batch_seconds = state_dict["samples"], state_dict["batch_seconds"]
        self._earlier = state_dict["seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.run.folder = trainer.strategy.broadcast(self.run.folder)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch that is gone on with does not start again, so its first batch does here.
        self._batch_start = time.monotonic()
        self._start = self._batch_start - self._earlier

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A batch of this project is (inputs, targets); of another one, a tensor or whatever comes last.
        last = batch[-1] if isinstance(batch, (tuple, list)) else batch
        self._samples += len(last) if isinstance(last, Tensor) and last.ndim else 0
        now = time.monotonic()
        self._batch_seconds += now - self._batch_start
        self._batch_start = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_start = time.monotonic()  # validation in the middle of an epoch is no training time

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        checkpoint = checkpoint_of(trainer)
        best: dict[str, Any] | None = None
        if checkpoint is not None and checkpoint.best_epoch is not None:
            assert checkpoint.best_model_score is not None
            score = checkpoint.best_model_score.item()
            best = {"monitor": checkpoint.monitor, "score": score, "epoch": checkpoint.best_epoch + 1}
        samples = self._samples * trainer.world_size
        self.run.update_results(
            forget=("test", "test_per_class"),  # of what was the best checkpoint before
            best=best,
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            seconds=round(time.monotonic() - self._start, 2),
            samples_per_second=round(samples / self._batch_seconds) if samples else None,
            parameters=sum(p.numel() for p in pl_module.parameters()),
        )
