"""Try batch sizes: which is the largest that fits into memory, and which is the fastest."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from litnets.errors import InputError

_MIN_STEPS, _MIN_SECONDS = 5, 1.0  # how long a batch size is timed, after its first step
_CPU_FRACTION = 0.5  # of the memory of the machine
_AS_FAST = 0.95  # a batch size with this fraction of the highest speed counts as equally fast


@dataclass(frozen=True)
class Measurement:
    """What was measured for a batch size.

    Args:
        size: The batch size.
        speed: Samples per second; None if it does not fit.
        memory: Peak memory in bytes: of the process on a CPU, of the tensors on a GPU.
    """

    size: int
    speed: float | None
    memory: int


class TimeSteps(Callback):
    """Time training steps, and stop after at least five steps and one second."""

    def __init__(self) -> None:
        self.samples, self.seconds = 0, 0.0
        self._steps = 0
        self._start: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.lr_scheduler_configs = []  # some need a validation metric

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if self._start is None:  # the first step also allocates memory and compiles kernels
            self._start = time.perf_counter()
            return
        self._steps += 1
        self.samples += len(batch[-1])
        self.seconds = time.perf_counter() - self._start
        if self._steps >= _MIN_STEPS and self.seconds >= _MIN_SECONDS:
            trainer.should_stop = True


def sizes_up_to(samples: int) -> Iterator[int]:
    """Yield powers of two from 8 up to the number of training samples."""
    size = 8
    while size <= samples:
        yield size
        size *= 2


def memory_limit() -> int:
    """Return how much memory training may use: all memory of the GPU or, without a GPU, half of the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(_CPU_FRACTION * _machine_memory())


def peak_memory() -> int:
    """Return the peak memory so far in bytes: of the tensors on a GPU, or of the process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _machine_memory() -> int:
    if not hasattr(os, "sysconf"):
        raise InputError("lr --batch_size: on Windows, the memory is measured only on a GPU")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def next_may_fit(measured: Sequence[Measurement], limit: int) -> bool:
    """Return whether twice the last batch size may fit, if memory keeps growing as between the last two sizes."""
    if len(measured) < 2:
        return True
    growth = measured[-1].memory - measured[-2].memory
    return measured[-1].memory + 2 * growth <= limit


def fastest(measured: Sequence[Measurement]) -> Measurement:
    """Return the smallest batch size that is about as fast as the fastest."""
    fitting = [one for one in measured if one.speed is not None]
    best = max(one.speed or 0.0 for one in fitting)
    return next(one for one in fitting if (one.speed or 0.0) >= _AS_FAST * best)
