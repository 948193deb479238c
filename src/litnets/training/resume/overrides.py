"""Let the configuration of a resumed run override its checkpoint, in callbacks, optimizers and schedules."""

import copy
import warnings
from itertools import zip_longest
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from torch.optim.lr_scheduler import ReduceLROnPlateau

from litnets.internals import init_optimizers_and_lr_schedulers


def keep_patience(trainer: Trainer, checkpoint: dict[str, Any], stays_stopped: bool) -> None:
    """Keep the configured patience of early stopping, and its decision whether to stop.

    Lightning does not restore the decision (Lightning-AI/pytorch-lightning#21857).
    """
    trainer.should_stop = trainer.should_stop or stays_stopped
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = checkpoint.get("callbacks", {}).get(callback.state_key)
        if isinstance(callback, EarlyStopping) and state is not None:
            state["patience"] = callback.patience
            if not stays_stopped:
                state |= {"stopped_epoch": 0, "stopping_reason": EarlyStoppingReason.NOT_STOPPED.value}


def record_initial_lrs(trainer: Trainer) -> None:
    """Record the initial learning rates in the optimizers, as most schedules themselves do."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])


def pop_scheduler_states(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove the schedules' states from a checkpoint and return them, so that Lightning does not restore them."""
    states: list[dict[str, Any]]
    states, checkpoint["lr_schedulers"] = checkpoint["lr_schedulers"], []
    return states


def rebuild_optimizers(
    trainer: Trainer,
    module: LightningModule,
    saved_states: list[dict[str, Any]],
    position: tuple[int, int],
    steps_per_epoch_changed: bool,
) -> None:
    """Apply the configured settings to the restored optimizers, and advance the new schedules to the position.

    The optimizers keep their state, such as momenta.

    Args:
        trainer: The trainer, with restored optimizers and counters.
        module: The model, with the new configuration.
        saved_states: The states that `pop_scheduler_states` returned.
        position: The next epoch, and the next batch in it, both from 0.
        steps_per_epoch_changed: Whether the number of steps per epoch differs from the checkpoint's.
    """
    epoch, batch = position
    optimizers, schedules = init_optimizers_and_lr_schedulers(module)
    for new, config, state in zip_longest(schedules, trainer.lr_scheduler_configs, saved_states[: len(schedules)]):
        scheduler: Any = new.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            if state is not None and "num_bad_epochs" in state:
                for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
                    setattr(scheduler, name, state[name])
                for group, restored_group in zip(
                    scheduler.optimizer.param_groups, config.scheduler.optimizer.param_groups, strict=True
                ):
                    group["initial_lr"] = group["lr"]
                    # Keep the reduction reached so far.
                    group["lr"] *= restored_group["lr"] / restored_group.get("initial_lr", restored_group["lr"])
        else:
            per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
            updates, max_updates = epoch, float("inf")
            if config.interval == "step":
                # Only the counter of steps accounts for epochs that ended before their last batch.
                steps = epoch * per_epoch + batch // trainer.accumulate_grad_batches
                updates = steps if steps_per_epoch_changed else trainer.global_step
                max_updates = float(trainer.estimated_stepping_batches)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "step the optimizer first": this optimizer never steps
                for _ in range(int(min(updates, max_updates))):
                    scheduler.step()
        config.scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for optimizer, restored in zip(optimizers, trainer.optimizers, strict=True):
        for group, fresh in zip(restored.param_groups, optimizer.param_groups, strict=True):
            group.update({name: value for name, value in fresh.items() if name != "params"})
