"""Lookahead: weights that step ahead and are drawn back (Zhang et al. 2019, arXiv 1907.08610)."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.errors import InputError


class Lookahead(Callback):
    """Keeps slow weights beside those that the optimiser moves. Every few steps the slow ones go part of the way to the
    fast ones, `slow = slow + alpha * (fast - slow)`, and the fast ones begin from there anew.

    Args:
        every_n_steps: Steps of the optimiser from one such meeting to the next.
        alpha: Part of the way that the slow weights go, in (0, 1].

    Raises:
        InputError: An interval that is none, or no part of a way.
    """

    def __init__(self, every_n_steps: int = 5, alpha: float = 0.5) -> None:
        if every_n_steps < 1:
            raise InputError(f"Lookahead: every_n_steps: expected at least 1, got {every_n_steps}")
        if not 0 < alpha <= 1:
            raise InputError(f"Lookahead: alpha: expected a number in (0, 1], got {alpha}")
        self.every_n_steps, self.alpha = every_n_steps, alpha
        self._slow: list[Tensor] = []
        self._step = 0  # the last step that was looked at: of accumulated batches not each makes one
        self._restored = False

    def state_dict(self) -> dict[str, Any]:
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._slow, self._restored = state_dict["slow"], True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fast = list(pl_module.parameters())
        beginnings = self._slow if self._restored else fast
        self._slow = [slow.detach().to(p.device, copy=True) for slow, p in zip(beginnings, fast, strict=True)]
        self._step, self._restored = trainer.global_step, False

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            for slow, fast in zip(self._slow, pl_module.parameters(), strict=True):
                fast.copy_(slow.lerp_(fast, self.alpha))
