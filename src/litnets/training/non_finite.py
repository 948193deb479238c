"""Stop a run whose loss or weights are not finite."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed
from torch.nn.utils import get_total_norm

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.training.progress import monitored_metric


class NotFiniteError(InputError):
    """A loss, metric or weight is NaN or infinite."""


class StopOnNonFinite(Callback):
    """Stop the run with NotFiniteError when a loss, the monitored metric or a weight is NaN or infinite.

    Losses and weights are checked every `trainer.log_every_n_steps` steps and before each checkpoint. Until then the
    losses stay on the device, so that a step neither waits nor copies.

    Args:
        run: The run. The error names its last good checkpoint.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._losses: list[Tensor] = []
        self._steps: list[int] = []  # the step of each loss
        self._checked = 0
        self._every = 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Callbacks are not called before a weights-only checkpoint is saved, so in that case check every step.
        weights_only = any(getattr(callback, "save_weights_only", False) for callback in trainer.checkpoint_callbacks)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._every = 1 if weights_only else every or 50
        self._checked = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach() if loss.ndim == 0 else loss.detach().mean())
            stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
            self._steps.append(step if stepped else step + 1)
        if step // self._every > self._checked // self._every:
            self._check(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        logged = trainer.callback_metrics
        for name in dict.fromkeys((monitored_metric(trainer), *(n for n in logged if n.rpartition("/")[2] == "loss"))):
            if name in logged and not math.isfinite(value := logged[name].item()):
                self._check(trainer, pl_module)  # a training loss is the likelier cause: report it first
                raise NotFiniteError(
                    f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}: {name} is {value}, "
                    f"while all weights are finite{self._advice()}"
                )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._losses or trainer.global_step != self._checked:  # best.ckpt and last.ckpt share one check
            self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        losses, steps = self._losses, self._steps
        self._losses, self._steps, self._checked = [], [], trainer.global_step
        weights = [p.detach() for p in pl_module.parameters() if p.is_floating_point()]
        # Reduce the weights to one number, their norm, so that a single boolean is copied to the host.
        numbers = [torch.stack(losses).float()] if losses else []
        if weights:
            numbers.append(get_total_norm(weights).float().reshape(1))
        suspect = bool(numbers) and not bool(torch.cat(numbers).isfinite().all())
        if not trainer.strategy.reduce_boolean_decision(suspect, all=False):
            return
        problem = _describe(losses, steps, pl_module, trainer.global_step)
        if trainer.world_size > 1:
            problems: list[str | None] = [None] * trainer.world_size
            distributed.all_gather_object(problems, problem)
            problem = next((part for part in problems if part), None)
        if problem is not None:  # otherwise the weights are finite, and only their norm overflows
            raise NotFiniteError(f"{problem}{self._advice()}")

    def _advice(self) -> str:
        newest = next(iter(self.run.checkpoints()), None)
        where = f"the last good checkpoint is {newest}" if newest else "no checkpoint was saved yet"
        return f"\n{where}; a smaller --model.lr or --trainer.gradient_clip_val 1 may help"


def _describe(losses: list[Tensor], steps: list[int], module: LightningModule, step: int) -> str | None:
    """Return which losses or weights are not finite, or None if all are finite."""
    parts = []
    at = next((i for i, loss in enumerate(losses) if not loss.isfinite()), None)
    if at is not None:
        parts.append(f"step {steps[at]}: the loss is {losses[at].item()}")
    bad = [name for name, p in module.named_parameters() if p.is_floating_point() and not p.isfinite().all()]
    if bad:
        more = f" and {len(bad) - 1} more parameters" if len(bad) > 1 else ""
        parts.append(f"step {step}: {bad[0]}{more} {'are' if more else 'is'} not finite")
    return "; ".join(parts) or None
