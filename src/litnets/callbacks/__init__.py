"""Callbacks: what may be hung on a Trainer."""

from litnets.callbacks.figures import Figures
from litnets.callbacks.predictions import PredictionsCSV
from litnets.callbacks.progress import Bar, Lines
from litnets.callbacks.record import Record
from litnets.callbacks.tensorboard import Graph, Histograms

__all__ = ["Bar", "Figures", "Graph", "Histograms", "Lines", "PredictionsCSV", "Record"]
