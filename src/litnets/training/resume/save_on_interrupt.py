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
from litnets.runs.folder import Run
from litnets.training.checkpoints.atomic_io import SaveError
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.non_finite import NotFiniteError
from litnets.training.signals import PeerProcessError, Signals, Stop

_CRASH = 1000  # said to the other processes in place of a signal, and above all of them

# How long a crashed process waits for the others to get where they ask. They may be a batch behind it; or they wait for
# it elsewhere, and so for its end.
_PATIENCE = timedelta(seconds=30)


class SaveOnInterrupt(Callback):
    """Saves last.ckpt when training ends before its time: by a signal after the running batch (of gradients that are
    accumulated, after the step; within a validation, after it), by an exception at once. What is saved is the state
    before the batch that was not done.

    Of several processes all stop after the same batch, whichever of them got the signal; and before the same one, if
    one of them crashes in it: in each batch they ask one another when it starts and before its backward, and a crashed
    process answers, too, before it ends. Nothing that they do together is half done there, so that they save as ever.
    Where the others do not get so far (they wait for it within a backward, or in a SyncBatchNorm), nothing is saved.

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
        self._stop: int | None = None  # the signal that all know of
        self._asking = False  # whether the others, too, ask before they do anything else together

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.listen()
        self.signals.deferred = self._training = self._asking = True
        self._first_step = trainer.global_step
        if trainer.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._sync_stop_signal()
        self._asking = pl_module.automatic_optimization  # otherwise there may be no backward, or some

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if self._asking:  # once in a batch: an optimiser may call it more often
            self._sync_stop_signal()
            self._asking = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._asking = True
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
            if trainer.global_step > self._first_step and (
                stopped or self._all_ranks_at_same_batch(trainer, exception)
            ):
                saved = self.checkpoint.save_mid_epoch(trainer)
        except (InputError, OSError) as error:  # the exception that brought us here is the one to reach the top
            _say(f"not saved: {error}")
        if not trainer.is_global_zero:
            return
        if saved:
            _say(f"saved {self.run.last} (epoch {trainer.current_epoch + 1}, step {trainer.global_step})")
        if self.run.last.exists():
            _say(f"go on with: litnets resume {shlex.quote(str(self.run.folder))}")
        elif trainer.global_step <= self._first_step:
            _say("stopped before the first step; there is nothing to go on from")

    def _request_stop(self, trainer: Trainer) -> None:
        # The loops look at this when all of a batch or of an epoch is done, validation and logging included, which no
        # hook comes after; there is no public way to set it (lightning 2.6.6).
        if self._stop is not None:
            trainer._signal_connector.received_sigterm = True

    def _sync_stop_signal(self) -> None:
        """Whether any process got a signal, or has crashed; all ask at the same places."""
        self._stop = self.signals.received
        if self._group is not None:
            said = torch.tensor(self._stop or 0)
            distributed.all_reduce(said, distributed.ReduceOp.MAX, self._group)
            if said == _CRASH:
                raise PeerProcessError("another process crashed")
            self._stop = int(said) or None
        if self._stop is not None:  # otherwise one may have come since, which is told the next time
            self.signals.received = self._stop

    def _all_ranks_at_same_batch(self, trainer: Trainer, exception: BaseException) -> bool:
        """Whether all processes, of which one has crashed, are before the same batch and can save."""
        if trainer.world_size == 1:
            return True
        assert self.checkpoint is not None
        where = self.checkpoint.resume_point(trainer)
        every: list[Any] = [None] * trainer.world_size
        crash = None if isinstance(exception, PeerProcessError) else f"{type(exception).__name__}: {exception}"
        if crash is not None and (where is None or not self._asking):
            return False
        try:
            if crash is not None:
                answer = torch.tensor(_CRASH)
                distributed.all_reduce(answer, distributed.ReduceOp.MAX, self._group, async_op=True).wait(_PATIENCE)
            distributed.all_gather_object(every, (where, crash), self._group)
        except RuntimeError:  # from gloo: another process does not answer, or is gone
            return False
        if crash is None:
            exception.args = (next(f"process {rank} crashed: {said}" for rank, (_, said) in enumerate(every) if said),)
        # What they do together over NCCL is only queued, so that one may be ahead of another.
        return distributed.get_backend() == "gloo" and all(place == where for place, _ in every)


def _stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has stepped after this batch."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def _say(text: str) -> None:
    print(f"litnets: {text}", file=sys.stderr, flush=True)
