"""LightningModules: a task owns the loss, the metrics, the steps and the optimiser; a named one adds its network."""

from litnets.tasks.classifier import Classifier
from litnets.tasks.cnn import CNNClassifier, CNNRegressor
from litnets.tasks.mlp import MLPClassifier, MLPRegressor
from litnets.tasks.regressor import Regressor
from litnets.tasks.rnn import RNNClassifier, RNNRegressor
from litnets.tasks.task import Task

__all__ = [
    "CNNClassifier",
    "CNNRegressor",
    "Classifier",
    "MLPClassifier",
    "MLPRegressor",
    "RNNClassifier",
    "RNNRegressor",
    "Regressor",
    "Task",
]
