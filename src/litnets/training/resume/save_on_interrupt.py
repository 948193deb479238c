"""Save a checkpoint to resume from when training is interrupted or crashes."""

import shlex
import signal
import sys
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from litnets.errors import InputError
from litnets.internals import request_stop
from litnets.runs.folder import Run
from litnets.safety.escaping import printable
from litnets.training.checkpoints.atomic_io import SaveError
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.non_finite import NotFiniteError
from litnets.training.resume.loop_state import Position
from litnets.training.signals import PeerProcessError, Signals, Stop

_CRASH = 1000  # sent to the other processes in place of a signal number; larger than any signal number

# How long a crashed process waits for the others to reach the next synchronization point. They may be a batch behind,
# or may be waiting for this very process elsewhere.
_PATIENCE = timedelta(seconds=30)

# What a process tells the others after a crash: the batch that it can save, if any, and its error if it has crashed.
Report = tuple[Position | None, str | None]


class SaveOnInterrupt(Callback):
    """Save last.ckpt when training is interrupted by a signal or an exception.

    A signal takes effect after the current batch; with gradient accumulation, after the optimizer step; during
    validation, after the validation. An exception takes effect immediately, and the state before the unfinished batch
    is saved.

    If any process receives a signal, all of them stop after the same batch; if any crashes, all stop before the same
    batch. For this, the processes synchronize twice per batch: at its start and before its backward pass. At these two
    points no collective operation is in progress, so all can save as usual. A crashed process takes part in one more
    synchronization before it ends. If the others never reach it, because they wait for the crashed process in a
    backward pass or in SyncBatchNorm, nothing is saved. After a crash with NCCL, nothing is saved either.

    Args:
        run: The run whose last.ckpt is written.
        signals: The signal handlers of the process.
        checkpoint: The callback that saves; None: save nothing.
    """

    def __init__(self, run: Run, signals: Signals, checkpoint: Checkpoint | None) -> None:
        self.run = run
        self.signals = signals
        self.checkpoint = checkpoint
        self._training = False
        self._first_step = 0
        self._group: Any = None  # the gloo process group; with it, synchronizing does not wait for the GPU
        self._stop: int | None = None  # the signal that all processes agree on
        self._sync_is_next = False  # whether synchronizing is the next collective operation of every process

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()
        self.signals.deferred = self._training = self._sync_is_next = True
        self._first_step = trainer.global_step
        if trainer.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._sync_stop_signal()
        self._sync_is_next = pl_module.automatic_optimization  # otherwise there may be none or several backward passes

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if self._sync_is_next:  # once per batch: an optimizer may call its closure repeatedly
            self._sync_stop_signal()
            self._sync_is_next = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._sync_is_next = True
        if self._group is None:
            self._stop = self.signals.received
        if _stepped(trainer, batch_idx):
            self._request_stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sync_stop_signal()
        self._request_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training:
            self._sync_stop_signal()
            self._request_stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sync_stop_signal()
        self.signals.deferred = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False
        if self.signals.received is not None:  # after the last batch, so nothing is left to save
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
            trainer.strategy.launcher.kill(signal.SIGTERM)  # without training, processes do not synchronize
        if not training or self.checkpoint is None or isinstance(exception, NotFiniteError | SaveError):
            return
        saved = False
        try:
            if trainer.global_step > self._first_step and (stopped or self._can_save_together(trainer, exception)):
                saved = self.checkpoint.save_mid_epoch(trainer)
        except (InputError, OSError) as error:  # report it, and let the original exception propagate
            _say(f"not saved: {error}")
        if not trainer.is_global_zero:
            return
        if saved:
            _say(f"saved {self.run.last} (epoch {trainer.current_epoch + 1}, step {trainer.global_step})")
        if self.run.last.exists():
            _say(f"resume with: litnets resume {shlex.quote(str(self.run.folder))}")
        elif trainer.global_step <= self._first_step:
            _say("stopped before the first step; there is nothing to resume")

    def _request_stop(self, trainer: Trainer) -> None:
        if self._stop is not None:
            request_stop(trainer)

    def _sync_stop_signal(self) -> None:
        """Agree on a signal or crash with the other processes; all of them call this at the same points."""
        self._stop = self.signals.received
        if self._group is not None:
            highest = torch.tensor(self._stop or 0)
            distributed.all_reduce(highest, distributed.ReduceOp.MAX, self._group)
            if highest == _CRASH:
                raise PeerProcessError("another process crashed")
            self._stop = int(highest) or None
        if self._stop is not None:  # otherwise keep a signal that has arrived meanwhile for the next call
            self.signals.received = self._stop

    def _can_save_together(self, trainer: Trainer, exception: BaseException) -> bool:
        """Return whether all processes are before the same batch and can save, although one of them has crashed."""
        if trainer.world_size == 1:
            return True
        reports = self._exchange_reports(trainer, exception)
        if reports is None:
            return False
        if isinstance(exception, PeerProcessError):
            crashes = [f"process {rank} crashed: {error}" for rank, (_, error) in enumerate(reports) if error]
            exception.args = (crashes[0],)
        # NCCL only queues collective operations, so one process may be ahead of another.
        return distributed.get_backend() == "gloo" and len({position for position, _ in reports}) == 1

    def _exchange_reports(self, trainer: Trainer, exception: BaseException) -> list[Report] | None:
        """Return the report of each process, or None if the processes cannot exchange them."""
        assert self.checkpoint is not None
        position = self.checkpoint.resume_point(trainer)
        has_crashed = not isinstance(exception, PeerProcessError)
        if has_crashed and (position is None or not self._sync_is_next):
            return None
        error = f"{type(exception).__name__}: {exception}" if has_crashed else None
        reports: list[Report] = [(None, None)] * trainer.world_size
        try:
            if has_crashed:
                self._announce_crash()
            distributed.all_gather_object(reports, (position, error), self._group)
        except RuntimeError:  # raised by gloo: another process does not answer, or is gone
            return None
        return reports

    def _announce_crash(self) -> None:
        """Take part in the next `_sync_stop_signal` of the other processes, which then raise PeerProcessError."""
        highest = torch.tensor(_CRASH)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX, self._group, async_op=True).wait(_PATIENCE)


def _stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether the optimizer has stepped after this batch."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def _say(text: str) -> None:
    print(f"litnets: {printable(text)}", file=sys.stderr, flush=True)
