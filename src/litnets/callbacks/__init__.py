"""Callbacks: what may be hung on a Trainer."""

from litnets.callbacks.finite import Finite
from litnets.callbacks.interruption import Interruption
from litnets.callbacks.predictions import PredictionsCSV
from litnets.callbacks.progress import Bar, Lines
from litnets.callbacks.record import Record

__all__ = ["Bar", "Finite", "Interruption", "Lines", "PredictionsCSV", "Record"]
