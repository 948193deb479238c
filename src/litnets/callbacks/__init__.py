"""Callbacks that you add by name: `--trainer.callbacks EMA`."""

from litnets.callbacks.ema import EMA
from litnets.callbacks.lookahead import Lookahead
from litnets.callbacks.unfreeze import Unfreeze

__all__ = ["EMA", "Lookahead", "Unfreeze"]
