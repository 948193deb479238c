"""Save and restore the part of the training state that Lightning does not save but an exact resume needs.

Lightning saves weights, optimizers, schedules, callbacks and the counters of its loops. It does not save the position
of the data in the epoch, the state of the training metrics, gradients in the middle of an accumulation, the values of
the last validation, and the logging step (Lightning 2.6.6; issues #21938, #21857). This module saves them as plain
data.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric, MetricCollection

from litnets import former_names
from litnets.internals import is_last_batch_ready, logging_step, set_logging_step, set_update_count
from litnets.tracking.loggers import MetricsCSV

KEY = "training_state"  # in a checkpoint

Position = tuple[int, int]


def position(trainer: Trainer) -> Position | None:
    """Return the next (epoch, batch), or None within a batch or while an epoch ends, where no run could resume."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    if epochs.completed == epochs.started:
        # max_steps, max_time or early stopping may have ended the last epoch before its last batch.
        ended_early = batches.completed > 0 and not is_last_batch_ready(trainer.fit_loop.epoch_loop)
        return (epochs.completed - 1, batches.completed) if ended_early else (epochs.completed, 0)
    if epochs.processed != epochs.completed or batches.processed != batches.completed:
        return None
    return epochs.completed, batches.completed


def epochs_started(trainer: Trainer) -> int:
    """Return the number of epochs that have started, the last of which may have ended before its last batch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return int(epochs.started)


def find_loop_state(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `save_loop_state` added to a checkpoint, or None if it added nothing."""
    # Up to version 0.1 the key was the name of the package, which `make rename` changes.
    keys = (KEY, "litnets", *former_names.FORMER_NAMES)
    return next((checkpoint[key] for key in keys if key in checkpoint), None)


def save_loop_state(trainer: Trainer, module: LightningModule, at: Position, content: dict[str, Any]) -> None:
    """Add to a checkpoint the state that is needed to resume at `at`. Every process must call this."""
    epoch, batch = at
    content[KEY] = {
        "epoch": epoch,
        "batch": batch,
        "ranks": _gather_rank_states(trainer, module, batch),
        "callback_metrics": {name: value.clone() for name, value in trainer.callback_metrics.items()},
        "logged_step": logging_step(trainer.fit_loop.epoch_loop),
        "csv": next((logger.state_dict() for logger in trainer.loggers if isinstance(logger, MetricsCSV)), {}),
    }
    _move_counters(content["loops"]["fit_loop"], at, trainer.accumulate_grad_batches)


def _gather_rank_states(trainer: Trainer, module: LightningModule, batch: int) -> list[dict[str, Any]]:
    """Return the state of each process: its metrics, and its gradients if an accumulation is not complete."""
    rank_state = {"metrics": _metric_states(module), "gradients": {}}
    if batch % trainer.accumulate_grad_batches:  # otherwise the gradients are cleared before they are used
        rank_state["gradients"] = {
            name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None
        }
    if trainer.world_size == 1:
        return [rank_state]
    rank_states: list[dict[str, Any]] = [{}] * trainer.world_size
    torch.distributed.all_gather_object(rank_states, rank_state)
    return rank_states


def _move_counters(loop: dict[str, Any], at: Position, accumulate_grad_batches: int) -> None:
    """Set the counters of a saved loop to their values just before the batch `at`, whichever hook saved the loop.

    Args:
        loop: The state of the fit loop in a checkpoint.
        at: The epoch and batch.
        accumulate_grad_batches: Batches per optimizer step.
    """
    epoch, batch = at
    epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    optimizer = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    # An unfinished batch is repeated after the resume. If it has already cleared the gradients, this was
    # counted once too often.
    is_within_batch = batches["current"]["started"] > batches["current"]["completed"]
    steps_begun = math.ceil(batch / accumulate_grad_batches)
    surplus = int(is_within_batch and optimizer["zero_grad"]["current"]["completed"] > steps_begun)
    epochs_begun = epoch + (batch > 0)
    batches["is_last_batch"] = False
    for kind in ("total", "current"):
        epochs[kind].update(ready=epochs_begun, started=epochs_begun, processed=epoch, completed=epoch)
        _set_all(batches[kind], batch if kind == "current" else batches[kind]["completed"])
        _set_all(optimizer["step"][kind], optimizer["step"][kind]["completed"])
        _set_all(optimizer["zero_grad"][kind], optimizer["zero_grad"][kind]["completed"] - surplus)


def _set_all(counters: dict[str, int], value: int) -> None:
    counters.update(dict.fromkeys(counters, value))


def restore_loop_state(trainer: Trainer, module: LightningModule, state: dict[str, Any]) -> None:
    """Restore what `save_loop_state` saved. Call it when training starts, after Lightning has restored its part."""
    rank_state = state["ranks"][trainer.global_rank] if trainer.global_rank < len(state["ranks"]) else {}
    _load_metric_states(module, rank_state.get("metrics", {}))
    parameters = dict(module.named_parameters())
    for name, gradient in rank_state.get("gradients", {}).items():
        parameters[name].grad = gradient.to(parameters[name].device)
    trainer.callback_metrics.update(state["callback_metrics"])
    # A loop that is marked as restarted skips a ReduceLROnPlateau step or validates twice.
    loop = trainer.fit_loop
    loop.restarting = False
    loop.epoch_loop.restarting = state["batch"] > 0  # otherwise it would count its batches from 0


def restore_logged_step(trainer: Trainer, state: dict[str, Any]) -> None:
    """Restore the logging step. Call this when the first batch starts: until then a restarted loop increments it."""
    set_logging_step(trainer.fit_loop.epoch_loop, state["logged_step"])


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _metric_states(module: LightningModule) -> dict[str, Any]:
    """Return the state of each metric that has been updated."""
    if callable(update := getattr(module, "update_train_metrics", None)):
        update()  # add the steps that are still pending
    for part in module.modules():
        if isinstance(part, MetricCollection):
            part.items(keep_base=True)  # only one metric of a compute group is updated; this shares its state
    return {
        name: {
            "count": metric.update_count,
            "state": {
                key: [v.clone() for v in value] if isinstance(value, list) else value.clone()
                for key, value in metric.metric_state.items()
            },
        }
        for name, metric in _metrics(module).items()
        if metric.update_count
    }


def _load_metric_states(module: LightningModule, states: dict[str, Any]) -> None:
    metrics = _metrics(module)
    for name, content in states.items():
        metric = metrics[name]
        for key, value in content["state"].items():
            moved = [v.to(metric.device) for v in value] if isinstance(value, list) else value.to(metric.device)
            setattr(metric, key, moved)
        set_update_count(metric, content["count"])
