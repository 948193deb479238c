"""Callbacks: what may be hung on a Trainer."""

from litnets.callbacks.checkpoint import Checkpoint
from litnets.callbacks.ema import EMA
from litnets.callbacks.figures import Figures
from litnets.callbacks.finite import Finite
from litnets.callbacks.interruption import Interruption
from litnets.callbacks.lookahead import Lookahead
from litnets.callbacks.predictions import PredictionsCSV
from litnets.callbacks.progress import Bar, Lines
from litnets.callbacks.record import Record
from litnets.callbacks.resumption import Resumption
from litnets.callbacks.tensorboard import Graph, Histograms

__all__ = [
    "EMA",
    "Bar",
    "Checkpoint",
    "Figures",
    "Finite",
    "Graph",
    "Histograms",
    "Interruption",
    "Lines",
    "Lookahead",
    "PredictionsCSV",
    "Record",
    "Resumption",
]
