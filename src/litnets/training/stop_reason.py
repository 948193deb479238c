"""Why a training has ended."""

from datetime import timedelta

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from litnets.training.checkpoints.saving import checkpoint_of
from litnets.training.resume.loop_state import epochs_started
from litnets.training.stop_after_epoch import StopAfterEpoch


def stop_reason(trainer: Trainer) -> str:
    """Return why training has ended, and whether training longer may give a better epoch.

    Example:
        >>> stop_reason(trainer)  # doctest: +SKIP
        'max_epochs of 20 reached; the best epoch is the last: train longer with --trainer.max_epochs N'
    """
    limit, value = _reached_limit(trainer)
    if limit is None:
        return _early_stopping_reason(trainer) or _stop_after_epoch(trainer) or "stopped by a callback"
    checkpoint = checkpoint_of(trainer)
    best_epoch = None if checkpoint is None else checkpoint.best_epoch
    is_last = best_epoch is not None and best_epoch + 1 >= epochs_started(trainer)
    advice = f"; the best epoch is the last: train longer with --trainer.{limit} N" if is_last else ""
    return f"{limit} of {value} reached{advice}"


def _reached_limit(trainer: Trainer) -> tuple[str | None, object]:
    """Return the option of the Trainer that ended training, and its value; (None, None) if no option did."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    if 0 <= steps <= trainer.global_step:
        return "max_steps", steps
    if epochs is not None and 0 <= epochs <= trainer.current_epoch:
        return "max_epochs", epochs
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(timer, Timer) and (remaining := timer.time_remaining()) is not None and remaining <= 0:
            return "max_time", timedelta(seconds=round(timer.time_elapsed() + remaining))
    return None, None


def _early_stopping_reason(trainer: Trainer) -> str | None:
    for callback in trainer.early_stopping_callbacks:
        if not isinstance(callback, EarlyStopping) or callback.stopping_reason is EarlyStoppingReason.NOT_STOPPED:
            continue
        if callback.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            return f"stopped early: no better {callback.monitor} for {_count_checks(trainer, callback.wait_count)}"
        return f"stopped early: {strip_signaling(callback.stopping_reason_message)}"
    return None


def _stop_after_epoch(trainer: Trainer) -> str | None:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    callback = next((one for one in callbacks if isinstance(one, StopAfterEpoch)), None)
    if callback is None or not callback.is_reached(trainer):
        return None
    return f"stop_after_epoch of {callback.epoch} reached; `litnets resume RUN --stop_after_epoch null` continues"


def strip_signaling(message: object) -> str:
    """Return Lightning's reason for stopping early, without its last sentence."""
    return str(message).removesuffix(" Signaling Trainer to stop.").removesuffix(".")


def _count_checks(trainer: Trainer, count: int) -> str:
    each_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0
    return f"{count} {'epoch' if each_epoch else 'validation'}{'' if count == 1 else 's'}"
