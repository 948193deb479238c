"""Callbacks: what may be hung on a Trainer."""

from litnets.callbacks.checkpoint import Checkpoint
from litnets.callbacks.finite import Finite
from litnets.callbacks.interruption import Interruption
from litnets.callbacks.predictions import PredictionsCSV
from litnets.callbacks.progress import Bar, Lines
from litnets.callbacks.record import Record
from litnets.callbacks.resumption import Resumption

__all__ = ["Bar", "Checkpoint", "Finite", "Interruption", "Lines", "PredictionsCSV", "Record", "Resumption"]
