"""Select the best epoch: by the monitored metric, and among equal values by the loss of the same split.

On a small validation split, accuracy takes few values. Among the epochs that share the best value, the first is often
the least trained, with the highest loss.
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from litnets.internals import EarlyStoppingCheck, is_last_batch_ready

# NaN stands for an unknown loss, because it is never smaller than another loss.
UNKNOWN_LOSS = torch.tensor(torch.nan)


def loss_beside(trainer: Trainer, monitor: str) -> Tensor:
    """Return the loss of the split that `monitor` belongs to: `val/loss` for `val/accuracy`.

    It is `UNKNOWN_LOSS` if the module does not log it.
    """
    split = monitor.partition("/")[0]
    loss = trainer.callback_metrics.get(f"{split}/loss")
    return UNKNOWN_LOSS if loss is None else loss.detach().clone()


class TieBreakingEarlyStopping(EarlyStoppingCheck, EarlyStopping):
    """Stop training when the monitored metric stops improving. A lower loss at an equal metric is an improvement.

    With a `min_delta` above 0, an equal metric is never an improvement.
    """

    best_loss = UNKNOWN_LOSS

    @property
    def state_key(self) -> str:
        state = {"monitor": self.monitor, "mode": self.mode}
        return f"EarlyStopping{state!r}"  # Lightning's key, which earlier checkpoints use

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.best_loss = state_dict.get("best_loss", UNKNOWN_LOSS)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch that max_steps has ended early continues when the run is resumed.
        if is_last_batch_ready(trainer.fit_loop.epoch_loop):
            super().on_train_epoch_end(trainer, pl_module)

    def check(self, trainer: Trainer) -> None:
        score, loss = trainer.callback_metrics.get(self.monitor), loss_beside(trainer, self.monitor)
        is_tie = score is not None and self.min_delta == 0 and bool(score == self.best_score)
        if is_tie and loss < self.best_loss:
            self.best_score = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)  # any value is better
        super().check(trainer)
        if self.wait_count == 0:
            self.best_loss = loss
