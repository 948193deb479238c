"""What Lightning does in each step for nothing, left out: a small network's step is no longer than that."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning.pytorch import Callback
from lightning.pytorch.profilers import PassThroughProfiler

# What Lightning calls on every callback in every training step.
_STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class Unprofiled(PassThroughProfiler):
    """Lightning's profiler that profiles nothing, without a generator for each of the fifty calls in a step."""

    _NOTHING: AbstractContextManager[None] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self._NOTHING


def leave_out_empty_hooks(callbacks: Iterable[Callback]) -> None:
    """Mark the hooks of a step that a callback does not have, so that Lightning does not prepare to call them: it skips
    what is not callable."""
    for callback in callbacks:
        for name in _STEP_HOOKS:
            if getattr(type(callback), name) is getattr(Callback, name) and name not in vars(callback):
                setattr(callback, name, None)


def stop_looking_for_gpus() -> None:
    """Where there is no GPU, let torch's optimisers, which ask for one in every step, do so the short way. Lightning
    chooses the long one (NVML, 40 us), which leaves a GPU alone until processes have been forked."""
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
