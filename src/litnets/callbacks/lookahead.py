"""Lookahead: k steps forward, one step back (Zhang et al. 2019, arXiv 1907.08610)."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litnets.errors import InputError


class Lookahead(Callback):
    """Keep slow weights beside the fast ones that the optimizer updates.

        litnets fit --config configs/digits_cnn.yaml --trainer.callbacks Lookahead

    Every few steps the slow weights move toward the fast ones, `slow = slow + alpha * (fast - slow)`, and the fast
    weights continue from there. The running statistics of batch normalization are treated the same way.

    Args:
        every_n_steps: Number of optimizer steps between two such updates.
        alpha: Fraction of the distance that the slow weights move, in (0, 1].
        power: If above 0, that fraction decays during training from 1 to `alpha`: at step t of T it is
            `1 - (1 - alpha) * (t / T) ** power` (Jordan 2024, arXiv 2404.00498, with 3 and an alpha of 0.226).

    Raises:
        InputError: `every_n_steps` is below 1, `alpha` is outside (0, 1], or `power` is negative. Also if `power` is
            used in a training whose length is not known.
    """

    def __init__(self, every_n_steps: int = 5, alpha: float = 0.5, power: float = 0.0) -> None:
        if every_n_steps < 1:
            raise InputError(f"Lookahead: every_n_steps: expected at least 1, got {every_n_steps}")
        if not 0 < alpha <= 1:
            raise InputError(f"Lookahead: alpha: expected a number in (0, 1], got {alpha}")
        if power < 0:
            raise InputError(f"Lookahead: power: expected at least 0, got {power}")
        self.every_n_steps, self.alpha, self.power = every_n_steps, alpha, power
        self._slow: list[Tensor] = []
        self._step = 0  # the last optimizer step seen; with gradient accumulation, not every batch makes a step
        self._steps = 1.0  # of the training in total
        self._restored = False

    def state_dict(self) -> dict[str, Any]:
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._slow, self._restored = state_dict["slow"], True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.power:
            self._steps = float(trainer.estimated_stepping_batches)
            if not math.isfinite(self._steps):
                raise InputError("Lookahead: power needs a training of known length; set --trainer.max_epochs")
        fast = _averaged(pl_module)
        if self._restored and [getattr(w, "shape", None) for w in self._slow] != [w.shape for w in fast]:
            raise InputError("Lookahead: the slow weights in the checkpoint are not those of this network")
        initial = self._slow if self._restored else fast
        self._slow = [slow.detach().to(p.device, copy=True) for slow, p in zip(initial, fast, strict=True)]
        self._step, self._restored = trainer.global_step, False

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            alpha = 1 - (1 - self.alpha) * (self._step / self._steps) ** self.power
            for slow, fast in zip(self._slow, _averaged(pl_module), strict=True):
                fast.copy_(slow.lerp_(fast, alpha))


def _averaged(module: LightningModule) -> list[Tensor]:
    """Return the weights, and the running means and variances of batch normalization that belong to them."""
    statistics = (b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    return [*module.parameters(), *statistics]
