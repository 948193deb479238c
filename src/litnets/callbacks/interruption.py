"""Interruption: a training that is stopped or crashes leaves a checkpoint to go on from."""

import signal
import sys
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from litnets.callbacks.finite import NotFiniteError
from litnets.checkpoint_io import SaveError
from litnets.errors import InputError
from litnets.run import Run
from litnets.signals import Signals, Stop


class Interruption(Callback):
    """Saves last.ckpt when training ends before its time: by a signal after the running batch (of gradients that are
    accumulated, after the step; within a validation after its running batch), by an exception at once. What is saved
    is the state after the last whole step; a validation that was interrupted is done again from its start.

    Of several processes all stop after the same batch, whichever of them got the signal; a validation is not left
    in the middle then, because the processes may have different numbers of batches.

    Args:
        run: The run whose last.ckpt is written.
        signals: Who listens to the signals.
        save: Whether to save.
    """

    def __init__(self, run: Run, signals: Signals, save: bool = True) -> None:
        self.run = run
        self.signals = signals
        self.save = save
        self._training = False
        self._first_step = 0
        self._group: Any = None  # of processes, over gloo: asking one another costs no wait for the GPU

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()
        self.signals.patient = self._training = True
        self._first_step = trainer.global_step
        if trainer.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ask_others()
        if _stepped(trainer, batch_idx):
            self._end_soon(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ask_others()
        self._end_soon(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._training and self._group is None and self.signals.received is not None:
            raise Stop(self.signals.received)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ask_others()
        self.signals.patient = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False
        if self.signals.received is not None:  # after the last batch: there is nothing left to be saved
            raise Stop(self.signals.received)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loops = checkpoint["loops"]["fit_loop"]
        _drop_unfinished(loops, trainer.accumulate_grad_batches)
        if trainer.validating:
            _restart_validation(loops)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        training, self._training = self._training, False
        stopped = isinstance(exception, Stop | SIGTERMException)
        if stopped and not training and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)
        if not training or not self.save or isinstance(exception, NotFiniteError | SaveError):
            return
        saved = self._save(trainer, alone=not stopped) if trainer.global_step > self._first_step else False
        if not trainer.is_global_zero:
            return
        if saved:
            _say(f"saved {self.run.last} (epoch {trainer.current_epoch + 1}, step {trainer.global_step})")
        if self.run.last.exists():
            _say(f"go on with: litnets resume {self.run.folder}")
        elif trainer.global_step <= self._first_step:
            _say("stopped before the first step; there is nothing to go on from")

    def _save(self, trainer: Trainer, alone: bool) -> bool:
        """Whether last.ckpt was saved; if not, why not is said. `alone`: the other processes may not be coming."""
        # Whatever goes wrong here, the exception that brought us here is the one that is to reach the top.
        if alone and self._group is not None:
            try:
                distributed.monitored_barrier(self._group, timedelta(seconds=10), wait_all_ranks=True)
            except RuntimeError:
                _say("not saved: the other processes are not where this one is")
                return False
        try:
            trainer.save_checkpoint(self.run.last)
        except (InputError, OSError) as error:
            _say(f"not saved: {error}")
            return False
        return True

    def _end_soon(self, trainer: Trainer) -> None:
        # The loops look at this when all of a batch or of an epoch is done, validation and logging included, which no
        # hook comes after; there is no public way to set it (lightning 2.6.6).
        if self.signals.received is not None:
            trainer._signal_connector.received_sigterm = True

    def _ask_others(self) -> None:
        """Whether any process got a signal, after the same batch in all of them."""
        if self._group is not None:
            signum = torch.tensor(self.signals.received or 0)
            distributed.all_reduce(signum, distributed.ReduceOp.MAX, self._group)
            self.signals.received = int(signum) or None


def _stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has stepped after this batch."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


# The two functions below change what Lightning writes of its loops into a checkpoint: counts of batches that were
# `ready`, `started`, `processed` and `completed`, since the start (`total`) and in this epoch (`current`).


def _drop_unfinished(loops: dict[str, Any], accumulate: int) -> None:
    """Set the counts back to the last optimiser's step where an exception came in the middle of a batch, or of batches
    whose gradients are accumulated: these are done again."""
    batches = loops["epoch_loop.batch_progress"]
    total, current = batches["total"], batches["current"]
    whole = total["ready"] == total["completed"]
    extra = 0 if whole and batches["is_last_batch"] else current["completed"] % accumulate
    if total["processed"] != total["completed"] or (whole and not extra):
        return
    for counts in (total, current):
        done = counts["completed"] - extra
        counts.update(ready=done, started=done, processed=done, completed=done)
    batches["is_last_batch"] = False


def _restart_validation(loops: dict[str, Any]) -> None:
    """Count none of the batches of the validation that is running: what its metrics have seen is not saved."""
    batches = loops["epoch_loop.val_loop.batch_progress"]
    for counts, done in (
        (batches["total"], batches["total"]["completed"] - batches["current"]["completed"]),
        (batches["current"], 0),
    ):
        # One started and not processed: so the loop knows that it was interrupted.
        counts.update(ready=done + 1, started=done + 1, processed=done, completed=done)
    batches["is_last_batch"] = False


def _say(text: str) -> None:
    print(f"litnets: {text}", file=sys.stderr, flush=True)
