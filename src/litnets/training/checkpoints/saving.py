"""Save best.ckpt and last.ckpt, from which training resumes exactly."""

import copy
import time
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from torch import Tensor

from litnets.errors import InputError
from litnets.internals import dump_checkpoint
from litnets.runs.folder import Run
from litnets.seeding import seed_batch
from litnets.training.checkpoints.atomic_io import SaveError
from litnets.training.resume import loop_state
from litnets.training.selection import UNKNOWN_LOSS, loss_beside

# Fraction of the time that saving at the ends of epochs may take, so that not every short epoch is saved. An equal
# fraction is reserved for the saves at the end of training.
MAX_SAVE_OVERHEAD = 0.005

# Assumed duration of the first save, in seconds: that of a small network on an ordinary disk.
_FIRST_COST = 0.01


class Checkpoint(lightning_callbacks.Checkpoint):
    """Save the best epoch by the monitored metric in best.ckpt, and the newest state in last.ckpt.

    Among epochs with equal values of the metric, the best is the one with the lowest loss.

    last.ckpt is saved at the end of each epoch (less often if epochs are short, to stay below 1% of the time), when
    training ends or is interrupted, and at the intervals below. It is saved just before a batch starts, so that
    training resumes at exactly that batch.

    Args:
        monitor: Metric that decides which epoch is best; ties go to the lower loss (`val/loss` for `val/accuracy`).
        mode: Whether a smaller (`min`) or larger (`max`) value is better.
        every_n_steps: Also save last.ckpt after this many optimizer steps. Default: never.
        every_n_minutes: Also save last.ckpt after this many minutes. Default: never.

    Raises:
        InputError: An interval is not positive, or the monitored metric is not logged.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise InputError(f"checkpoint.{name}: expected a number above 0, got {value}")
        self.monitor, self.mode = monitor, mode
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        # Set by the command line: where to save, and the configuration to save, for comparison when the run is resumed.
        self.run: Run | None = None
        self.config = ""
        self.best_model_path = ""  # read by `trainer.test(ckpt_path="best")`
        self.best_model_score: Tensor | None = None
        self.best_loss = UNKNOWN_LOSS
        self.best_epoch: int | None = None
        # Whether the monitored metric is logged in training rather than in validation. For a custom metric, this is
        # known only after the first validation.
        self._monitor_is_train_metric = (monitor or "").startswith("train")
        self._has_new_best = False  # the epoch that has just ended is the best, and its weights are not saved yet
        self._unsaved_best: dict[str, Any] | None = None  # the checkpoint of the best epoch, until a save is affordable
        self._is_updating = False  # whether weights, schedules or gradients are partly updated
        self._buffers: list[Tensor] = []  # buffers of the network
        self._buffers_before_batch: list[Tensor] = []  # their values when the current batch started
        self._first_epoch = 0  # the epoch in which this process started or resumed training
        self._last_saved: tuple[loop_state.Position, int] | None = None  # position and step of last.ckpt
        # Times of `time.monotonic`, and durations in seconds.
        self._started_at: float | None = None
        self._saved_at = 0.0
        self._save_seconds = 0.0  # of all saves
        self._last_save_seconds = _FIRST_COST

    # State

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_model_score": self.best_model_score,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "monitor": self.monitor,
            "of_training": self._monitor_is_train_metric,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["monitor"] != self.monitor:
            return  # the best score of another metric cannot be compared
        self.best_model_score, self.best_epoch = state_dict["best_model_score"], state_dict["best_epoch"]
        self.best_loss = state_dict.get("best_loss", UNKNOWN_LOSS)  # checkpoints of 0.1 lack it
        if "of_training" in state_dict:  # early checkpoints of 0.1 lack it
            self._monitor_is_train_metric = state_dict["of_training"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if (at := self._at(trainer)) is not None:
            loop_state.save_loop_state(trainer, pl_module, at, checkpoint)
            checkpoint[loop_state.KEY]["config"] = self.config

    # When to save

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.run = None  # save nothing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = self._started_at = time.monotonic()
        self._first_epoch = trainer.current_epoch
        self._monitor_is_train_metric = self._monitor_is_train_metric or not trainer.enable_validation
        self._buffers = list(pl_module.buffers())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._is_updating = False
        self._save_if_due(trainer, batch_idx)
        self._buffers_before_batch = [buffer.clone() for buffer in self._buffers]
        seed_batch(trainer.current_epoch, batch_idx, trainer.global_rank, part=1)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        # This backward pass adds to the gradients of earlier batches. If it is interrupted, only some are updated.
        self._is_updating = bool(trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._is_updating = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or self._monitor_is_train_metric:
            return
        if str(self.monitor) in trainer.callback_metrics:
            self._compare(trainer)
        else:
            self._monitor_is_train_metric = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._monitor_is_train_metric:
            self._compare(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._buffers_before_batch = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._is_updating = False
        self._save(trainer)

    def save_mid_epoch(self, trainer: Trainer) -> bool:
        """Save last.ckpt within an epoch, when training is interrupted.

        Returns:
            Whether it was saved. Within an optimizer step or a validation it cannot be saved; the run then resumes
            from the previous save.
        """
        can_save = self.resume_point(trainer) is not None
        if can_save:
            # Within a batch, the running statistics of batch normalization already include the unfinished batch.
            for buffer, before in zip(self._buffers, self._buffers_before_batch, strict=False):
                buffer.copy_(before)
            self._save(trainer)
        return can_save

    def resume_point(self, trainer: Trainer) -> loop_state.Position | None:
        """Return the (epoch, batch) that `save_mid_epoch` would save, or None if it would not save."""
        return self._at(trainer) if self._started_at is not None and trainer.training else None

    def _at(self, trainer: Trainer) -> loop_state.Position | None:
        """Return the current position, or None if training could not resume from it."""
        return None if self._is_updating and not _between_batches(trainer) else loop_state.position(trainer)

    def _compare(self, trainer: Trainer) -> None:
        score = trainer.callback_metrics.get(str(self.monitor))
        if score is None:
            logged = ", ".join(trainer.callback_metrics)
            raise InputError(f"checkpoint.monitor: no metric '{self.monitor}' was logged (logged: {logged})")
        loss = loss_beside(trainer, str(self.monitor))
        if self._is_better(score, loss) and bool(torch.isfinite(score)):
            self.best_model_score, self.best_epoch = score.detach().clone(), trainer.current_epoch
            self.best_loss = loss
            self._has_new_best = True

    def _is_better(self, score: Tensor, loss: Tensor) -> bool:
        best = self.best_model_score
        if best is None:
            return True
        if score == best:
            return bool(loss < self.best_loss)
        return bool(score < best if self.mode == "min" else score > best)

    def _save_if_due(self, trainer: Trainer, batch_idx: int) -> None:
        saved_steps = 0 if self._last_saved is None else self._last_saved[1]
        seconds = time.monotonic() - self._saved_at
        affordable = self._is_affordable()
        epoch_begins = batch_idx == 0 and trainer.current_epoch != self._first_epoch
        steps_due = self.every_n_steps is not None and trainer.global_step - saved_steps >= self.every_n_steps
        minutes_due = self.every_n_minutes is not None and seconds >= 60 * self.every_n_minutes
        if trainer.world_size > 1 and (epoch_begins or self._has_new_best or self.every_n_minutes is not None):
            # Clocks differ, but all processes have to make the same decision.
            affordable, minutes_due = trainer.strategy.broadcast((affordable, minutes_due))
        if steps_due or minutes_due or (epoch_begins and affordable):
            self._save(trainer)
        elif self._has_new_best:
            self._save_best(trainer, now=affordable)

    def _is_affordable(self) -> bool:
        """Return whether best.ckpt and last.ckpt can be saved now without exceeding `MAX_SAVE_OVERHEAD`."""
        assert self._started_at is not None
        elapsed = time.monotonic() - self._started_at
        return self._save_seconds + 2 * self._last_save_seconds <= MAX_SAVE_OVERHEAD * elapsed

    # How to save

    def _save(self, trainer: Trainer) -> None:
        """Write last.ckpt. Write a pending best.ckpt first, because last.ckpt stores its score."""
        at = self._at(trainer)
        if at is None or self.run is None:
            return
        self._save_best(trainer, now=True)
        if self._last_saved != (at, trainer.global_step):
            self._write(trainer, self.run.last)
            self._last_saved = at, trainer.global_step

    def _save_best(self, trainer: Trainer, now: bool) -> None:
        """Write best.ckpt now, or keep its content in memory until a save is affordable."""
        if self.run is None:
            return
        if self._has_new_best:
            self._has_new_best = False
            self._unsaved_best = None
            self.best_model_path = str(self.run.best)
            if now:
                self._write(trainer, self.run.best)
            else:
                self._unsaved_best = copy.deepcopy(dump_checkpoint(trainer))
        elif now and self._unsaved_best is not None:
            self._write(trainer, self.run.best, self._unsaved_best)
            self._unsaved_best = None

    def _write(self, trainer: Trainer, path: Path, content: dict[str, Any] | None = None) -> None:
        start = time.monotonic()
        if trainer.is_global_zero and not path.parent.is_dir():
            raise SaveError(f"checkpoint {path}: could not be saved: the run folder no longer exists")
        for logger in trainer.loggers:
            logger.save()  # so that the rows up to here are on disk too
        trainer.strategy.save_checkpoint(content or dump_checkpoint(trainer), path)
        trainer.strategy.barrier("Checkpoint")
        self._saved_at = time.monotonic()
        self._last_save_seconds = self._saved_at - start
        self._save_seconds += self._last_save_seconds


def checkpoint_of(trainer: Trainer) -> Checkpoint | None:
    """Return the Checkpoint callback of litnets. The trainer may have other checkpoint callbacks before it."""
    return next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoint)), None)


def _between_batches(trainer: Trainer) -> bool:
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return bool(progress.started == progress.completed)  # a batch counts as started after the hooks at its start
