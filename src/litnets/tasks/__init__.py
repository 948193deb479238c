"""LightningModules: a task owns the loss, the metrics, the steps and the optimiser; a named one adds its network."""

from litnets.tasks.airnet import AirNetClassifier
from litnets.tasks.base import Task
from litnets.tasks.classification import Classifier
from litnets.tasks.cnn import CNNClassifier, CNNRegressor
from litnets.tasks.cnn1d import CNN1dClassifier
from litnets.tasks.forecasting import CNNForecaster, Forecaster, LinearForecaster, MLPForecaster, RNNForecaster
from litnets.tasks.mlp import MLPClassifier, MLPRegressor
from litnets.tasks.regression import Regressor
from litnets.tasks.resnet import ResNetClassifier
from litnets.tasks.rnn import RNNClassifier, RNNRegressor
from litnets.tasks.transformer import TransformerClassifier

__all__ = [
    "AirNetClassifier",
    "CNN1dClassifier",
    "CNNClassifier",
    "CNNForecaster",
    "CNNRegressor",
    "Classifier",
    "Forecaster",
    "LinearForecaster",
    "MLPClassifier",
    "MLPForecaster",
    "MLPRegressor",
    "RNNClassifier",
    "RNNForecaster",
    "RNNRegressor",
    "Regressor",
    "ResNetClassifier",
    "Task",
    "TransformerClassifier",
]
