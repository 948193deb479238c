"""LightningModules: a task owns the loss, the metrics, the steps and the optimiser; a named one adds its network."""

from litnets.tasks.classifier import Classifier
from litnets.tasks.cnn import CNNClassifier
from litnets.tasks.forecaster import CNN1dForecaster, Forecaster, LinearForecaster, MLPForecaster, RNNForecaster
from litnets.tasks.mlp import MLPClassifier
from litnets.tasks.rnn import RNNClassifier
from litnets.tasks.task import Task

__all__ = [
    "CNN1dForecaster",
    "CNNClassifier",
    "Classifier",
    "Forecaster",
    "LinearForecaster",
    "MLPClassifier",
    "MLPForecaster",
    "RNNClassifier",
    "RNNForecaster",
    "Task",
]
