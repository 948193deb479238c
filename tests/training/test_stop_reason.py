from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.stop_reason import stop_reason


def ended(best_epoch: int | None = None, callbacks: tuple[Any, ...] = (), **options: Any) -> str:
    """The reason of a training of 7 epochs and 70 steps."""
    checkpoint = Checkpoint("val/loss")
    checkpoint.best_epoch = best_epoch
    trainer: Any = SimpleNamespace(
        current_epoch=7, global_step=70, max_epochs=-1, max_steps=-1, check_val_every_n_epoch=1, val_check_interval=1.0,
        fit_loop=EPOCHS, callbacks=callbacks, checkpoint_callbacks=[checkpoint],
        early_stopping_callbacks=[c for c in callbacks if isinstance(c, EarlyStopping)],
    )  # fmt: skip
    vars(trainer).update(options)
    return stop_reason(trainer)


def early_stopping(reason: EarlyStoppingReason, message: str = "", waited: int = 10) -> EarlyStopping:
    callback = EarlyStopping("val/accuracy", mode="max")
    callback.stopping_reason, callback.stopping_reason_message, callback.wait_count = reason, message, waited
    return callback


def elapsed(seconds: float) -> Timer:
    timer = Timer(timedelta(minutes=90))
    timer.load_state_dict({"time_elapsed": {"train": seconds}})
    return timer


PATIENCE = early_stopping(EarlyStoppingReason.PATIENCE_EXHAUSTED)
ONE_CHECK = early_stopping(EarlyStoppingReason.PATIENCE_EXHAUSTED, waited=1)
THRESHOLD = early_stopping(
    EarlyStoppingReason.STOPPING_THRESHOLD,
    "Stopping threshold reached: val/accuracy = 1.0 > 0.9. Signaling Trainer to stop.",
)
EPOCHS = SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(started=7)))
LONGER = "the best epoch is the last: train longer with"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_epochs": 7}, "max_epochs of 7 reached"),
        ({"max_epochs": 7, "best_epoch": 5}, "max_epochs of 7 reached"),
        ({"max_epochs": 7, "best_epoch": 6}, f"max_epochs of 7 reached; {LONGER} --trainer.max_epochs N"),
        ({"max_epochs": 9, "max_steps": 70}, "max_steps of 70 reached"),
        ({"max_steps": 70, "best_epoch": 6}, f"max_steps of 70 reached; {LONGER} --trainer.max_steps N"),
        ({"callbacks": (elapsed(5401),), "best_epoch": 0}, "max_time of 1:30:00 reached"),
        ({"callbacks": (elapsed(5399),)}, "stopped by a callback"),
        ({"callbacks": (PATIENCE,), "max_epochs": 20}, "stopped early: no better val/accuracy for 10 epochs"),
        ({"callbacks": (PATIENCE,), "best_epoch": 6}, "stopped early: no better val/accuracy for 10 epochs"),
        (
            {"callbacks": (PATIENCE,), "val_check_interval": 0.5},
            "stopped early: no better val/accuracy for 10 validations",
        ),
        ({"callbacks": (ONE_CHECK,)}, "stopped early: no better val/accuracy for 1 epoch"),
        ({"callbacks": (THRESHOLD,)}, "stopped early: Stopping threshold reached: val/accuracy = 1.0 > 0.9"),
        (
            {"callbacks": (early_stopping(EarlyStoppingReason.NOT_STOPPED), elapsed(5400))},
            "max_time of 1:30:00 reached",
        ),
    ],
)  # fmt: skip
def test_stop_reason(options: dict[str, Any], reason: str) -> None:
    assert ended(**options) == reason
