"""What is given now wins over what the checkpoint says, in callbacks, optimiser and schedule."""

import copy
import warnings
from itertools import zip_longest
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.core.optimizer import _init_optimizers_and_lr_schedulers
from torch.optim.lr_scheduler import ReduceLROnPlateau


def keep_patience(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let early stopping keep its own patience, and stay stopped if that is used up (Lightning forgets it, #21857)."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = checkpoint["callbacks"].get(callback.state_key)
        if isinstance(callback, EarlyStopping) and state is not None:
            state["patience"] = callback.patience
            if state["stopped_epoch"] and state["wait_count"] >= callback.patience:
                trainer.should_stop = True
            else:
                state["stopped_epoch"] = 0


def take_schedules(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Take the schedules' states out of a checkpoint, so that Lightning leaves the new schedules alone, and the
    learning rate that the old configuration gave."""
    states, checkpoint["lr_schedulers"] = checkpoint["lr_schedulers"], []
    return {"schedules": states, "lr": checkpoint.get("hyper_parameters", {}).get("lr")}


def renew_optimization(trainer: Trainer, module: LightningModule, old: dict[str, Any], epoch: int, batch: int) -> None:
    """Give the restored optimisers the settings that the configuration asks for now, and bring the new schedules to
    where training stands. What the optimisers have gathered (momenta ...) stays.

    Args:
        trainer: The trainer, whose optimisers and counters are restored.
        module: The model, as configured now.
        old: What `take_schedules` took.
        epoch: The epoch that comes next, from 0.
        batch: The batch of it that comes next, from 0.
    """
    # By Lightning's own reading, which has no public name: a module may give a bare optimiser, a dict or lists.
    optimizers, schedules = _init_optimizers_and_lr_schedulers(module)
    for new, config, state in zip_longest(schedules, trainer.lr_scheduler_configs, old["schedules"][: len(schedules)]):
        scheduler: Any = new.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            if state is not None and "num_bad_epochs" in state:
                for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
                    setattr(scheduler, name, state[name])
                given = old["lr"] or scheduler.optimizer.defaults["lr"]
                for group, now in zip(
                    scheduler.optimizer.param_groups, config.scheduler.optimizer.param_groups, strict=True
                ):
                    group["lr"] *= now["lr"] / given  # as far as it has come down
        else:
            per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
            updates = epoch
            if config.interval == "step":
                updates = epoch * per_epoch + batch // trainer.accumulate_grad_batches
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the optimiser has not stepped: this one never will
                for _ in range(updates):
                    scheduler.step()
        config.scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for optimizer, restored in zip(optimizers, trainer.optimizers, strict=True):
        for group, fresh in zip(restored.param_groups, optimizer.param_groups, strict=True):
            group.update({name: value for name, value in fresh.items() if name != "params"})
