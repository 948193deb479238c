"""LightningModules: a task owns the loss, the metrics, the steps and the optimizer; a named one adds its network."""

from litnets.tasks.base import Task
from litnets.tasks.classification import Classifier
from litnets.tasks.forecasting import Forecaster
from litnets.tasks.named_tasks import (
    AirNetClassifier,
    CNN1dClassifier,
    CNN1dRegressor,
    CNNClassifier,
    CNNForecaster,
    CNNRegressor,
    LinearForecaster,
    MLPClassifier,
    MLPForecaster,
    MLPRegressor,
    ResNetClassifier,
    ResNetRegressor,
    RNNClassifier,
    RNNForecaster,
    RNNRegressor,
    TransformerClassifier,
    TransformerForecaster,
    TransformerRegressor,
)
from litnets.tasks.regression import Regressor

__all__ = [
    "AirNetClassifier",
    "CNN1dClassifier",
    "CNN1dRegressor",
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
    "ResNetRegressor",
    "Task",
    "TransformerClassifier",
    "TransformerForecaster",
    "TransformerRegressor",
]
