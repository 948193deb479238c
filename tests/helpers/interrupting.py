"""Callbacks that interrupt or corrupt a training run."""

import os
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only


class InterruptAt(Callback):
    """Send this process a signal, or raise an error, in the n-th call of a hook.

    Args:
        hook: Name of the hook.
        count: n.
        signum: The signal; 0 raises RuntimeError("crash").
        rank: Rank to interrupt; None: all ranks.
    """

    def __init__(self, hook: str, count: int, signum: int = 0, rank: int | None = None) -> None:
        self.count = count
        self.signum = signum
        self.rank = rank
        setattr(self, hook, self._called)

    def _called(self, *args: Any) -> None:
        self.count -= 1
        if self.count == 0 and self.rank in (None, rank_zero_only.rank):
            if not self.signum:
                raise RuntimeError("crash")
            os.kill(os.getpid(), self.signum)


class MakeNonFinite(Callback):
    """Set a weight to infinity, or the inputs to NaN, before the n-th batch.

    Args:
        count: n.
        what: `weight` or `batch`.
    """

    def __init__(self, count: int, what: str = "weight") -> None:
        self.count = count
        self.what = what

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.count -= 1
        if self.count == 0:
            with torch.no_grad():
                if self.what == "batch":
                    batch[0].fill_(float("nan"))
                else:
                    list(pl_module.parameters())[-1][0] = float("inf")


def at(hook: str, count: int, signum: int = 0) -> list[str]:
    """Return the command-line options that add an `InterruptAt` callback to the trainer."""
    return _options("InterruptAt", hook=hook, count=count, signum=int(signum))


def make_non_finite(count: int, what: str = "weight") -> list[str]:
    """Return the command-line options that add a `MakeNonFinite` callback to the trainer."""
    return _options("MakeNonFinite", count=count, what=what)


def _options(name: str, **arguments: Any) -> list[str]:
    options = ["--trainer.callbacks+", f"tests.helpers.interrupting.{name}"]
    for key, value in arguments.items():
        options += [f"--trainer.callbacks.{key}", str(value)]
    return options
