"""A faster epoch loop that caches what Lightning looks up in every step.

In every step, Lightning's loop looks up which callbacks override a hook, whether the module does, who moves the batch
to the device, how precision and gradient clipping work, and whether a validation, a logging step or a learning-rate
schedule is due. None of the answers changes within an epoch, so `FastEpochLoop` looks them up once per epoch. Otherwise
it does what Lightning's loop does, in the same order. Epochs whose steps need more (several optimizers, gradient
accumulation, several processes, a profiler, manual optimization ...) are left to Lightning's loop.

The shorter a step, the more this saves. The table gives the time of a step divided by that of a plain PyTorch loop, for
the cases of `benchmarks/training.py` (two CPU threads, range of three interleaved measurements):

    case      Lightning's loop  FastEpochLoop
    MLP 128   1.45-1.47         1.15-1.20
    MLP 1024  1.09-1.24         0.96-1.09
    RNN       1.03-1.09         0.95-1.02
    CNN       no difference

It replaces a private class of Lightning, so it is used only with the versions in `TESTED_LIGHTNING`, against which
`tests/training/test_fast_loop.py` compares every hook call and every number. `litnets fit --fast_loop false` uses
Lightning's loop.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loops.optimization.automatic import Closure, ClosureResult
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from litnets.internals import (
    CurrentHook,
    DataFetcher,
    PrefetchDataFetcher,
    TrainingEpochLoop,
    clip_gradients,
    is_last_batch_ready,
    logger_connector,
    logging_step,
    set_logging_step,
    skips_next_validation,
    transfer_hook,
    validates_by_the_clock,
)

# The versions of Lightning with which this loop was tested.
TESTED_LIGHTNING = ("2.6.6",)

# Hooks that are called in every step: those of the callbacks first, then that of the LightningModule.
_STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
# A LightningModule that overrides one of these gets Lightning's step.
_HOOKS_THAT_CHANGE_THE_STEP = (
    "on_train_batch_start",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
)


class FastEpochLoop(TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, with the lookups of each step cached for the epoch.

    Example:
        >>> trainer = Trainer(max_epochs=1)  # doctest: +SKIP
        >>> trainer.fit_loop.epoch_loop = FastEpochLoop(trainer)
    """

    _step: "_Step | None" = None  # None: this epoch takes Lightning's steps

    def reset(self) -> None:
        super().reset()
        self._step = _Step(self.trainer) if _Step.supports(self.trainer) else None

    def advance(self, data_fetcher: DataFetcher) -> None:
        step = self._step
        if step is None or self.restarting or type(data_fetcher) is not PrefetchDataFetcher:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress, logged_values = self.batch_progress, logger_connector(self.trainer)
        progress.is_last_batch = data_fetcher.done
        batch = step.transfer(batch)
        progress.increment_ready()
        logged_values.on_batch_start(batch)
        step.call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        outputs = step.optimize(batch, batch_idx, self.automatic_optimization.optim_progress.optimizer)
        progress.increment_processed()
        if step.has_schedulers:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if is_last_batch_ready(self):
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        step.call("on_train_batch_end", outputs, batch, batch_idx)
        logged_values.on_batch_end()
        progress.increment_completed()
        is_logging_step = step.log_every and (logging_step(self) + 1) % step.log_every == 0
        if is_logging_step or (step.log_every and self.trainer.should_stop):
            logged_values.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: DataFetcher) -> None:
        if self._continues_with_next_batch() and not skips_next_validation(self) and not self.trainer.received_sigterm:
            set_logging_step(self, logging_step(self) + 1)
        else:
            super().on_advance_end(data_fetcher)

    @property
    def done(self) -> bool:
        return not self._continues_with_next_batch() and super().done

    def _continues_with_next_batch(self) -> bool:
        """Return whether the next step is certainly another batch, neither a validation nor the end of training."""
        step = self._step
        return (
            step is not None
            and step.validates_only_at_the_end
            and not is_last_batch_ready(self)
            and not self.trainer.should_stop
            and (self.max_steps == -1 or self.global_step < self.max_steps)
        )


class _Step:
    """The parts of a step, in Lightning's order.

    Args:
        trainer: A Trainer; typed as Any, because its type hints lack half of the attributes used here.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.module = trainer.lightning_module
        self.optimizer: Any = trainer.optimizers[0]
        self.device = trainer.strategy.root_device
        self.precision = trainer.precision_plugin
        self.clips_gradients = trainer.gradient_clip_val is not None
        self.hooks = {name: self._overridden_hooks(name) for name in _STEP_HOOKS}
        self.log_every = trainer.log_every_n_steps
        self.has_schedulers = bool(trainer.lr_scheduler_configs)
        self.validates_only_at_the_end = (
            not validates_by_the_clock(trainer)
            and trainer.check_val_every_n_epoch is not None
            and trainer.val_check_batch >= trainer.num_training_batches
            # A plateau schedule is updated when a metric is available.
            and not any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        )
        self.before_transfer = transfer_hook(trainer, "on_before_batch_transfer")
        self.move = transfer_hook(trainer, "transfer_batch_to_device")
        self.after_transfer = transfer_hook(trainer, "on_after_batch_transfer")

    @staticmethod
    def supports(trainer: Any) -> bool:
        """Return whether this class can do everything that a step of this training needs."""
        module: Any = trainer.lightning_module
        precision = trainer.precision_plugin
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and trainer.strategy.model is trainer.lightning_module
            and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
            and type(trainer.profiler) is PassThroughProfiler
            and trainer.accumulate_grad_batches == 1
            and bool(module.automatic_optimization)
            and len(trainer.optimizers) == 1
            and not any(is_overridden(name, module) for name in _HOOKS_THAT_CHANGE_THE_STEP)
            and is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
            and not is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True)
        )

    def _overridden_hooks(self, name: str) -> list[Callable[..., Any]]:
        hooks: list[Callable[..., Any]] = [
            partial(getattr(callback, name), self.trainer, self.module)
            for callback in self.trainer.callbacks
            if getattr(type(callback), name) is not getattr(Callback, name) or name in vars(callback)
        ]
        return [*hooks, getattr(self.module, name)] if is_overridden(name, self.module) else hooks

    def call(self, name: str, *args: Any) -> None:
        """Call a hook of the callbacks that override it, then that of the module if it does."""
        if hooks := self.hooks[name]:
            with CurrentHook(self.module, name):
                for hook in hooks:
                    hook(*args)

    def transfer(self, batch: Any) -> Any:
        """Move a batch to the device, through the hooks of the transfer."""
        batch = self.before_transfer(batch, 0)
        batch = self.move(batch, self.device, 0)
        return self.after_transfer(batch, 0)

    def optimize(self, batch: Any, batch_idx: int, progress: Any) -> dict[str, Any]:
        """Run forward, backward and the optimizer's step; return the outputs for `on_train_batch_end`."""
        outputs: dict[str, Any] = {}
        progress.step.increment_ready()
        self.optimizer.step(partial(self._closure, batch, batch_idx, progress, outputs))
        progress.step.increment_completed()
        return outputs

    def _closure(self, batch: Any, batch_idx: int, progress: Any, outputs: dict[str, Any]) -> Tensor | None:
        """Compute the loss and its gradients. Some optimizers, such as LBFGS, call it several times in a step."""
        self._backward(batch, batch_idx, progress, outputs)
        self.call("on_before_optimizer_step", self.optimizer)
        if self.clips_gradients:
            value, algorithm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
            clip_gradients(self.precision, self.module, self.optimizer, value, algorithm)
        return outputs.get("loss")

    @torch.enable_grad()
    def _backward(self, batch: Any, batch_idx: int, progress: Any, outputs: dict[str, Any]) -> None:
        with CurrentHook(self.module, "training_step"), self.precision.forward_context():
            step_output = self.module.training_step(batch, batch_idx)
        if isinstance(step_output, Mapping) and isinstance(loss := step_output.get("loss"), Tensor):
            outputs.update(step_output, loss=loss.detach())
        else:  # a loss alone, None, or an invalid output, for which Lightning raises
            result = ClosureResult.from_training_step_output(step_output)
            loss = result.closure_loss
            if loss is None:
                Closure.warning_cache.warn("`training_step` returned `None`: this batch changes no weight")
            else:
                outputs.update(result.asdict())
        progress.zero_grad.increment_ready()
        self.call("on_before_zero_grad", self.optimizer)
        progress.zero_grad.increment_started()
        self.optimizer.zero_grad()
        progress.zero_grad.increment_completed()
        if loss is not None:
            self.call("on_before_backward", loss)
            loss.backward()
            self.call("on_after_backward")


def disable_nvml_check() -> None:
    """Without a GPU, speed up the check for CUDA that torch's optimizers make in every step.

    Lightning selects the NVML check, which takes 40 us, because it does not initialize a GPU before processes are
    forked.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
