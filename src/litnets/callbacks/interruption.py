"""Interruption: a training that is stopped or crashes leaves a checkpoint to go on from."""

import signal
import sys
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from litnets.callbacks.checkpoint import Checkpoint
from litnets.callbacks.finite import NotFiniteError
from litnets.checkpoint_io import SaveError
from litnets.errors import InputError
from litnets.run import Run
from litnets.signals import Signals, Stop


class Interruption(Callback):
    """Saves last.ckpt when training ends before its time: by a signal after the running batch (of gradients that are
    accumulated, after the step; within a validation, after it), by an exception at once. What is saved is the state
    before the batch that was not done.

    Of several processes all stop after the same batch, whichever of them got the signal.

    Args:
        run: The run whose last.ckpt is written.
        signals: Who listens to the signals.
        checkpoint: What saves; None saves nothing.
    """

    def __init__(self, run: Run, signals: Signals, checkpoint: Checkpoint | None) -> None:
        self.run = run
        self.signals = signals
        self.checkpoint = checkpoint
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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training:
            self._ask_others()
            self._end_soon(trainer)

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

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        training, self._training = self._training, False
        stopped = isinstance(exception, Stop | SIGTERMException)
        if stopped and not training and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)
        if not training or self.checkpoint is None or isinstance(exception, NotFiniteError | SaveError):
            return
        saved = False
        try:
            if trainer.global_step > self._first_step:
                # Of several processes a broken one cannot save: the others are not where it is.
                saved = (stopped or trainer.world_size == 1) and self.checkpoint.save_where_it_stands(trainer)
        except (InputError, OSError) as error:  # the exception that brought us here is the one to reach the top
            _say(f"not saved: {error}")
        if not trainer.is_global_zero:
            return
        if saved:
            _say(f"saved {self.run.last} (epoch {trainer.current_epoch + 1}, step {trainer.global_step})")
        if self.run.last.exists():
            _say(f"go on with: litnets resume {self.run.folder}")
        elif trainer.global_step <= self._first_step:
            _say("stopped before the first step; there is nothing to go on from")

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


def _say(text: str) -> None:
    print(f"litnets: {text}", file=sys.stderr, flush=True)
