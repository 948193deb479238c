"""Checkpoint: best.ckpt and last.ckpt, from which training goes on exactly."""

import copy
import time
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from torch import Tensor

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.seeding import seed_batch
from litnets.training.resume import loop_state

# Saving at the ends of epochs may cost this share of the time; of short epochs not each is saved. As much again is left
# for the saves at the end.
MAX_SAVE_OVERHEAD = 0.005

# Seconds that a save is thought to take before there was one: that of a small network on a common disk.
_FIRST_COST = 0.01


class Checkpoint(lightning_callbacks.Checkpoint):
    """Keeps the best epoch by the watched metric in best.ckpt, and the newest state in last.ckpt: at the end of an
    epoch (of short ones not of each, so that saving costs less than 1 % of the time), when training ends or is
    stopped, and as often as told.

    A save is made where a batch is about to start, so that training goes on at that very batch.

    Args:
        monitor: Metric that says which epoch is best.
        mode: Whether less (`min`) or more (`max`) of it is better.
        every_n_steps: Save last.ckpt also after so many steps of the optimiser.
        every_n_minutes: Save last.ckpt also after so many minutes.

    Raises:
        InputError: An interval that is none, or a monitor that is not logged.
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
        # Set by the command: where to save, and the configuration, saved with it to be held against a later one.
        self.run: Run | None = None
        self.config = ""
        self.best_model_path = ""  # as `trainer.test(ckpt_path="best")` asks for it
        self.best_model_score: Tensor | None = None
        self.best_epoch: int | None = None
        # Whether the monitor is known when an epoch's training ends; one of one's own may turn out to be.
        self._monitor_is_train_metric = (monitor or "").startswith("train")
        self._best_is_due = False
        self._pending: dict[str, Any] | None = None  # the best epoch's content, not yet on disk
        self._began = False
        self._stepping = False  # weights, schedules or gradients are on their way to the next step
        self._buffers: list[Tensor] = []  # the network's
        self._before: list[Tensor] = []  # as they were when the last batch started
        self._start = 0  # the epoch with which training began, or goes on
        self._saved: tuple[loop_state.Position, int] | None = None  # what last.ckpt holds
        self._saved_at = 0.0
        self._began_at = 0.0
        self._spent = 0.0  # seconds that all saves took
        self._cost = _FIRST_COST  # seconds that the last one took

    # What is kept and put back

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_model_score": self.best_model_score,
            "best_epoch": self.best_epoch,
            "monitor": self.monitor,
            "of_training": self._monitor_is_train_metric,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["monitor"] == self.monitor:  # the score of another metric says nothing
            self.best_model_score, self.best_epoch = state_dict["best_model_score"], state_dict["best_epoch"]
            self._monitor_is_train_metric = state_dict.get(
                "of_training", self._monitor_is_train_metric
            )  # which earlier ones lack

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if (at := self._at(trainer)) is not None:
            loop_state.save_loop_state(trainer, pl_module, at, checkpoint)
            checkpoint[loop_state.KEY]["config"] = self.config

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.run = None  # nothing is kept

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = self._began_at = time.monotonic()
        self._start = trainer.current_epoch
        self._monitor_is_train_metric = self._monitor_is_train_metric or not trainer.enable_validation
        self._buffers = list(pl_module.buffers())
        self._began = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._stepping = False
        self._save_if_due(trainer, batch_idx)
        self._before = [buffer.clone() for buffer in self._buffers]
        seed_batch(trainer.current_epoch, batch_idx, trainer.global_rank, part=1)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        # Into gradients that hold earlier batches' already, which half a backward would spoil.
        self._stepping = bool(trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._stepping = True

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
        self._before = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stepping = False
        self._save(trainer)

    def save_mid_epoch(self, trainer: Trainer) -> bool:
        """Save last.ckpt in the middle of training, for one that ends before its time. Whether it was saved: it is not
        inside an optimiser's step, nor inside a validation, which goes on from the last save."""
        stands = self.resume_point(trainer) is not None
        if stands:
            # In the middle of a batch the statistics of batch normalisation have seen what is not done.
            for buffer, before in zip(self._buffers, self._before, strict=False):
                buffer.copy_(before)
            self._save(trainer)
        return stands

    def resume_point(self, trainer: Trainer) -> loop_state.Position | None:
        """The (epoch, batch) that `save_mid_epoch` would save, None where it would not."""
        return self._at(trainer) if self._began and trainer.training else None

    def _at(self, trainer: Trainer) -> loop_state.Position | None:
        """Where training stands, None where it cannot go on from."""
        return None if self._stepping and not _between_batches(trainer) else loop_state.position(trainer)

    def _compare(self, trainer: Trainer) -> None:
        score = trainer.callback_metrics.get(str(self.monitor))
        if score is None:
            known = ", ".join(trainer.callback_metrics)
            raise InputError(f"checkpoint.monitor: no metric '{self.monitor}' was logged (there are: {known})")
        best = self.best_model_score
        better = score < best if self.mode == "min" and best is not None else best is None or score > best
        if bool(better) and bool(torch.isfinite(score)):
            self.best_model_score, self.best_epoch = score.detach().clone(), trainer.current_epoch
            self._best_is_due = True

    def _save_if_due(self, trainer: Trainer, batch_idx: int) -> None:
        saved_steps = 0 if self._saved is None else self._saved[1]
        seconds = time.monotonic() - self._saved_at
        # The best and the last one, or one of them.
        affordable = self._spent + 2 * self._cost <= MAX_SAVE_OVERHEAD * (time.monotonic() - self._began_at)
        epoch_begins = batch_idx == 0 and trainer.current_epoch != self._start
        told = self.every_n_steps is not None and trainer.global_step - saved_steps >= self.every_n_steps
        timed = self.every_n_minutes is not None and seconds >= 60 * self.every_n_minutes
        if trainer.world_size > 1 and (epoch_begins or self._best_is_due or self.every_n_minutes is not None):
            # Clocks differ; all processes have to do the same.
            affordable, timed = trainer.strategy.broadcast((affordable, timed))
        if told or timed or (epoch_begins and affordable):
            self._save(trainer)
        elif self._best_is_due:
            self._save_best(trainer, now=affordable)

    # How

    def _save(self, trainer: Trainer) -> None:
        """last.ckpt, and before it the best one, of which it speaks."""
        at = self._at(trainer)
        if at is None or self.run is None:
            return
        self._save_best(trainer, now=True)
        if self._saved != (at, trainer.global_step):
            self._write(trainer, self.run.last)
            self._saved = at, trainer.global_step

    def _save_best(self, trainer: Trainer, now: bool) -> None:
        """best.ckpt: now, or kept in memory until there is time."""
        if self.run is None:
            return
        if self._best_is_due:
            self._best_is_due = False
            self._pending = None
            self.best_model_path = str(self.run.best)
            if now:
                self._write(trainer, self.run.best)
            else:
                self._pending = copy.deepcopy(_content(trainer))
        elif now and self._pending is not None:
            self._write(trainer, self.run.best, self._pending)
            self._pending = None

    def _write(self, trainer: Trainer, path: Path, content: dict[str, Any] | None = None) -> None:
        start = time.monotonic()
        for logger in trainer.loggers:
            logger.save()  # so that the rows up to here are on disk, too
        trainer.strategy.save_checkpoint(content or _content(trainer), path)
        trainer.strategy.barrier("Checkpoint")
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start
        self._spent += self._cost


def checkpoint_of(trainer: Trainer) -> Checkpoint | None:
    """The trainer's own one, which may not be the first of its checkpoint callbacks."""
    return next((one for one in trainer.checkpoint_callbacks if isinstance(one, Checkpoint)), None)


def _content(trainer: Trainer) -> dict[str, Any]:
    # Trainer.save_checkpoint writes at once; what it writes has no public name.
    content: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint()
    return content


def _between_batches(trainer: Trainer) -> bool:
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return bool(progress.started == progress.completed)  # it is started when the hooks at its start have been called
