"""What is given now wins over what the checkpoint says, in callbacks, optimiser and schedule."""

import copy
import warnings
from itertools import zip_longest
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.core.optimizer import _init_optimizers_and_lr_schedulers
from torch.optim.lr_scheduler import ReduceLROnPlateau


def keep_patience(trainer: Trainer, checkpoint: dict[str, Any], stays_stopped: bool) -> None:
    """Let early stopping keep its own patience, and its training stay stopped (Lightning forgets that, #21857) or not
    have been stopped."""
    trainer.should_stop = trainer.should_stop or stays_stopped
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = checkpoint["callbacks"].get(callback.state_key)
        if isinstance(callback, EarlyStopping) and state is not None:
            state["patience"] = callback.patience
            if not stays_stopped:
                state |= {"stopped_epoch": 0, "stopping_reason": EarlyStoppingReason.NOT_STOPPED.value}


def record_initial_lrs(trainer: Trainer) -> None:
    """Let each optimiser's state say with which learning rates it began, as most schedules do for themselves."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])


def pop_scheduler_states(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the schedules' states out of a checkpoint, so that Lightning leaves the new schedules alone."""
    states: list[dict[str, Any]]
    states, checkpoint["lr_schedulers"] = checkpoint["lr_schedulers"], []
    return states


def rebuild_optimizers(
    trainer: Trainer, module: LightningModule, old: list[dict[str, Any]], place: tuple[int, int], cut_anew: bool
) -> None:
    """Give the restored optimisers the settings that the configuration asks for now, and bring the new schedules to
    where training stands. What the optimisers have gathered (momenta ...) stays.

    Args:
        trainer: The trainer, whose optimisers and counters are restored.
        module: The model, as configured now.
        old: What `pop_scheduler_states` took.
        place: The epoch and the batch of it that come next, both from 0.
        cut_anew: Whether epochs have another number of steps than they had.
    """
    epoch, batch = place
    # By Lightning's own reading, which has no public name: a module may give a bare optimiser, a dict or lists.
    optimizers, schedules = _init_optimizers_and_lr_schedulers(module)
    for new, config, state in zip_longest(schedules, trainer.lr_scheduler_configs, old[: len(schedules)]):
        scheduler: Any = new.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            if state is not None and "num_bad_epochs" in state:
                for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
                    setattr(scheduler, name, state[name])
                for group, now in zip(
                    scheduler.optimizer.param_groups, config.scheduler.optimizer.param_groups, strict=True
                ):
                    group["initial_lr"] = group["lr"]
                    group["lr"] *= now["lr"] / now.get("initial_lr", now["lr"])  # as far as it has come down
        else:
            per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
            updates, most = epoch, float("inf")
            if config.interval == "step":
                # Of epochs that ended before their last batch only the counter of steps knows.
                steps = epoch * per_epoch + batch // trainer.accumulate_grad_batches
                updates, most = steps if cut_anew else trainer.global_step, float(trainer.estimated_stepping_batches)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the optimiser has not stepped: this one never will
                for _ in range(int(min(updates, most))):
                    scheduler.step()
        config.scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for optimizer, restored in zip(optimizers, trainer.optimizers, strict=True):
        for group, fresh in zip(restored.param_groups, optimizer.param_groups, strict=True):
            group.update({name: value for name, value in fresh.items() if name != "params"})
