"""LightningModules: a task owns the loss, the metrics, the steps and the optimiser; a named one adds its network."""

from litnets.tasks.classifier import Classifier
from litnets.tasks.cnn import CNNClassifier
from litnets.tasks.cnn1d import CNN1dClassifier
from litnets.tasks.mlp import MLPClassifier
from litnets.tasks.rnn import RNNClassifier
from litnets.tasks.task import Task
from litnets.tasks.transformer import TransformerClassifier

__all__ = [
    "CNN1dClassifier",
    "CNNClassifier",
    "Classifier",
    "MLPClassifier",
    "RNNClassifier",
    "Task",
    "TransformerClassifier",
]
