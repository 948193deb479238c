"""Write the results of a training into the run's results.json."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.runs.folder import Run
from litnets.training.checkpoints.saving import checkpoint_of
from litnets.training.resume.loop_state import epochs_started
from litnets.training.stop_reason import stop_reason


class WriteResults(Callback):
    """Write the best score, epochs, why training ended, seconds, samples per second and the number of parameters.

    Args:
        run: The run. Every process uses the folder that the first one created.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._samples = 0
        self._batch_seconds = 0.0
        self._batch_start = 0.0
        self._start = 0.0
        self._earlier = 0.0  # seconds of training before the run was resumed

    @property
    def state_key(self) -> str:
        return "Record"  # the name of this class in version 0.1, so that its checkpoints still resume

    def state_dict(self) -> dict[str, Any]:
        seconds = self._batch_start - self._start
        return {"samples": self._samples, "batch_seconds": self._batch_seconds, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._samples, self._batch_seconds = state_dict["samples"], state_dict["batch_seconds"]
        self._earlier = state_dict["seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.run.folder = trainer.strategy.broadcast(self.run.folder)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A resumed epoch does not call on_train_epoch_start again, so its first batch is timed from here.
        self._batch_start = time.monotonic()
        self._start = self._batch_start - self._earlier

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A batch of litnets is (inputs, targets). Of any other batch, count the last part if it is a tensor.
        last = batch[-1] if isinstance(batch, (tuple, list)) else batch
        self._samples += len(last) if isinstance(last, Tensor) and last.ndim else 0
        now = time.monotonic()
        self._batch_seconds += now - self._batch_start
        self._batch_start = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_start = time.monotonic()  # validation within an epoch is not training time

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # They belong to the previous best checkpoint, like the metrics of its test.
        run = self.run
        recorded = map(run.recorded_predictions, ("test", "val"))
        for path in (*recorded, run.calibration, run.inputs, run.baselines):
            path.unlink(missing_ok=True)
        checkpoint = checkpoint_of(trainer)
        best: dict[str, Any] | None = None
        if checkpoint is not None and checkpoint.best_epoch is not None:
            assert checkpoint.best_model_score is not None
            score = checkpoint.best_model_score.item()
            best = {"monitor": checkpoint.monitor, "score": score, "epoch": checkpoint.best_epoch + 1}
        samples = self._samples * trainer.world_size
        of_test = ("test", "test_per_class", "test_per_target", "test_per_channel", "calibration")
        self.run.update_results(
            forget=of_test,
            best=best,
            stop_reason=stop_reason(trainer),
            epochs=epochs_started(trainer),
            steps=trainer.global_step,
            seconds=round(time.monotonic() - self._start, 2),
            samples_per_second=round(samples / self._batch_seconds) if samples else None,
            parameters=sum(p.numel() for p in pl_module.parameters()),
        )
