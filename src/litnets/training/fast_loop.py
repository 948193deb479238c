"""What Lightning does in each step for nothing, left out: a small network's step is no longer than that."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.optimization.automatic import Closure, ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from litnets.seeding import seed_batch

# What is called in every step, of the callbacks first and then of the LightningModule.
_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
# Hooks of a LightningModule with which Lightning's own step is taken.
_OWN_STEP = ("on_train_batch_start", "optimizer_step", "optimizer_zero_grad", "backward", "configure_gradient_clipping")


class FastEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, whose step looks up once an epoch what does not change within it:
    which hooks there are, where a batch is moved by whom, how it is computed. One process, one optimiser, one optimiser
    step a batch and no profiler; all else is left to Lightning's step, which does the same more slowly.

    There is no public way: Lightning's loops are not meant to be replaced since 2.0 (Lightning-AI/pytorch-lightning
    #16445). Tests hold each hook and number against Lightning's own loop.

    Args:
        trainer: Whose loop is replaced.
        seeded: Seed the generators before each batch is read, and in a training that is gone on with read again what an
            epoch had read: for data whose order, or what is read, is drawn from them, and that do not go on by
            themselves.
    """

    def __init__(self, trainer: Trainer, seeded: bool = False) -> None:
        given = trainer.fit_loop.epoch_loop
        super().__init__(trainer, min_steps=given.min_steps, max_steps=given.max_steps)
        self._step: _Step | None = None
        self._seeded = seeded

    def reset(self) -> None:
        super().reset()
        self._step = _Step(self.trainer) if _Step.fits(self.trainer) else None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        if self._seeded:
            epoch, done = self.trainer.current_epoch, self.batch_progress.current.ready
            seed_batch(epoch, 0, rank=0, part=2)  # the order is that of all processes
            if self.trainer.fit_loop.is_resuming:
                if epoch:
                    iter(data_fetcher)  # Lightning's has begun before the generators were seeded
                for batch in range(done):
                    self._seed_reading(batch)
                    next(data_fetcher, None)
                data_fetcher.fetched = 0  # Lightning is about to add what is done
        super().on_run_start(data_fetcher)

    def _seed_reading(self, batch: int) -> None:
        if self._seeded and batch:
            seed_batch(self.trainer.current_epoch, batch, self.trainer.global_rank, part=2)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        self._seed_reading(self.batch_progress.current.ready)
        step = self._step
        if step is None or self.restarting or type(data_fetcher) is not _PrefetchDataFetcher:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress, logged = self.batch_progress, self.trainer._logger_connector
        progress.is_last_batch = data_fetcher.done
        batch = step.transfer(batch)
        progress.increment_ready()
        logged.on_batch_start(batch)
        step.call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        outputs = step.optimize(batch, batch_idx, self.automatic_optimization.optim_progress.optimizer)
        progress.increment_processed()
        if step.schedules:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        step.call("on_train_batch_end", outputs, batch, batch_idx)
        logged.on_batch_end()
        progress.increment_completed()
        if step.logs_every and ((self._batches_that_stepped + 1) % step.logs_every == 0 or self.trainer.should_stop):
            logged.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        if self._goes_on() and not self._skip_next_val and not self.trainer.received_sigterm:
            self._batches_that_stepped += 1
        else:
            super().on_advance_end(data_fetcher)

    @property
    def done(self) -> bool:
        return not self._goes_on() and super().done

    def _goes_on(self) -> bool:
        """Whether it is sure that the next batch comes next: no validation, no end."""
        step = self._step
        return (
            step is not None
            and step.validates_last
            and not self._num_ready_batches_reached()
            and not self.trainer.should_stop
            and (self.max_steps == -1 or self.global_step < self.max_steps)
        )


class _Step:
    """The parts of a step, in Lightning's order."""

    def __init__(self, trainer: Any) -> None:  # whose types leave out half of this
        self.trainer = trainer
        self.module = trainer.lightning_module
        self.optimizer: Any = trainer.optimizers[0]
        self.device = trainer.strategy.root_device
        self.precision = trainer.precision_plugin
        self.clips = trainer.gradient_clip_val is not None
        self.hooks = {name: self._hooks(name) for name in _HOOKS}
        self.logs_every = trainer.log_every_n_steps
        self.schedules = bool(trainer.lr_scheduler_configs)
        # Whether nothing is due before the last batch: no validation, and no schedule that would wait for one.
        self.validates_last = (
            trainer._val_check_time_interval is None
            and trainer.check_val_every_n_epoch is not None
            and trainer.val_check_batch >= trainer.num_training_batches
            and not any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        )
        choose = trainer._data_connector._datahook_selector.get_instance
        self.before_transfer = choose("on_before_batch_transfer").on_before_batch_transfer
        self.move = choose("transfer_batch_to_device").transfer_batch_to_device
        self.after_transfer = choose("on_after_batch_transfer").on_after_batch_transfer

    @staticmethod
    def fits(trainer: Any) -> bool:
        """Whether a step is no more than what is done here."""
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
            and not any(is_overridden(name, module) for name in _OWN_STEP)
            and is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
            and not is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True)
        )

    def _hooks(self, name: str) -> list[Callable[..., Any]]:
        there: list[Callable[..., Any]] = [
            partial(getattr(callback, name), self.trainer, self.module)
            for callback in self.trainer.callbacks
            if getattr(type(callback), name) is not getattr(Callback, name) or name in vars(callback)
        ]
        return [*there, getattr(self.module, name)] if is_overridden(name, self.module) else there

    def call(self, name: str, *args: Any) -> None:
        """Call a hook of all that have it."""
        if hooks := self.hooks[name]:
            with _CurrentHook(self.module, name):
                for hook in hooks:
                    hook(*args)

    def transfer(self, batch: Any) -> Any:
        """The batch on the device, as the hooks make it."""
        batch = self.before_transfer(batch, 0)
        batch = self.move(batch, self.device, 0)
        return self.after_transfer(batch, 0)

    def optimize(self, batch: Any, batch_idx: int, progress: Any) -> dict[str, Any]:
        """Forward, backward and the optimiser's step; what `on_train_batch_end` is given."""
        outputs: dict[str, Any] = {}
        progress.step.increment_ready()
        self.optimizer.step(partial(self._closure, batch, batch_idx, progress, outputs))
        progress.step.increment_completed()
        return outputs

    def _closure(self, batch: Any, batch_idx: int, progress: Any, outputs: dict[str, Any]) -> Tensor | None:
        """What an optimiser calls for the loss and its gradients, some of them more than once in a step."""
        self._backward(batch, batch_idx, progress, outputs)
        self.call("on_before_optimizer_step", self.optimizer)
        if self.clips:
            self.precision._clip_gradients(
                self.module,
                self.optimizer,
                self.trainer.gradient_clip_val,
                gradient_clip_algorithm=self.trainer.gradient_clip_algorithm,
            )
        return outputs.get("loss")

    @torch.enable_grad()
    def _backward(self, batch: Any, batch_idx: int, progress: Any, outputs: dict[str, Any]) -> None:
        with _CurrentHook(self.module, "training_step"), self.precision.forward_context():
            found = self.module.training_step(batch, batch_idx)
        if isinstance(found, Mapping) and isinstance(loss := found.get("loss"), Tensor):
            outputs.update(found, loss=loss.detach())
        else:  # a loss alone, none, or a mistake, of which Lightning speaks
            result = ClosureResult.from_training_step_output(found)
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


class _CurrentHook:
    """Says which hook runs, as `self.log` asks. A class, as a generator takes longer."""

    def __init__(self, module: LightningModule, hook: str) -> None:
        self.attributes, self.hook = vars(module), hook  # Module.__setattr__ looks through all parameters first

    def __enter__(self) -> None:
        self.before = self.attributes["_current_fx_name"]
        self.attributes["_current_fx_name"] = self.hook

    def __exit__(self, *error: object) -> None:
        self.attributes["_current_fx_name"] = self.before


def disable_nvml_check() -> None:
    """Where there is no GPU, let torch's optimisers, which ask for one in every step, do so the short way. Lightning
    chooses the long one (NVML, 40 us), which leaves a GPU alone until processes have been forked."""
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
