"""Callbacks: what may be hung on a Trainer."""

from litnets.callbacks.predictions import PredictionsCSV
from litnets.callbacks.progress import Bar, Lines
from litnets.callbacks.record import Record

__all__ = ["Bar", "Lines", "PredictionsCSV", "Record"]
