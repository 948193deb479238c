"""Restore the training state that litnets saved in a checkpoint, so that training resumes exactly."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from litnets.tracking.loggers import MetricsCSV
from litnets.training.checkpoints.restoring import report_misfit
from litnets.training.resume import loop_state, overrides


class RestoreTrainingState(Callback):
    """Restore what `Checkpoint` saved. This must be the first callback, so that the others find the state restored.

    Args:
        optimization_changed: Whether the configuration changes the optimizer, the schedule or the length of training.
        steps_per_epoch_changed: Whether the configuration changes the number of steps per epoch.
        stays_stopped: Whether early stopping has ended this training for good.
    """

    def __init__(
        self,
        optimization_changed: bool = False,
        steps_per_epoch_changed: bool = False,
        stays_stopped: bool = False,
    ) -> None:
        self.optimization_changed = optimization_changed
        self.steps_per_epoch_changed = steps_per_epoch_changed
        self.stays_stopped = stays_stopped
        self._state: dict[str, Any] | None = None
        self._scheduler_states: list[dict[str, Any]] = []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = loop_state.find_loop_state(checkpoint)
        if trainer.state.fn != "fit" or state is None:
            return
        self._state = state
        overrides.keep_patience(trainer, checkpoint, self.stays_stopped)
        if self.optimization_changed:
            self._scheduler_states = overrides.pop_scheduler_states(checkpoint)
        if hasattr(trainer.datamodule, "start_at"):  # type: ignore[attr-defined]
            trainer.datamodule.start_at(state["epoch"], state["batch"])  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.load_state_dict(state["csv"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._state is not None:
            with report_misfit(trainer.ckpt_path):
                loop_state.restore_loop_state(trainer, pl_module, self._state)
            if self.optimization_changed:
                position = self._state["epoch"], self._state["batch"]
                overrides.rebuild_optimizers(
                    trainer, pl_module, self._scheduler_states, position, self.steps_per_epoch_changed
                )
        overrides.record_initial_lrs(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._state is not None:
            loop_state.restore_logged_step(trainer, self._state)
            self._state = None
