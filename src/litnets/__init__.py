"""litnets: MLP, CNN and RNN on PyTorch Lightning, from the command line or from Python.

    from litnets import CNNClassifier
    model = CNNClassifier.load_from_checkpoint("checkpoints/digits_cnn/<run>/best.ckpt")

The names listed here are imported on first use, so that `litnets --help` does not wait for torch.
"""

from importlib.metadata import version
from typing import Any

from litnets.safety.resolving import import_object

__version__ = version("litnets")

_PUBLIC = {
    "litnets.api": ("fit", "load"),
    "litnets.data": (
        "ArrayData",
        "ArrayDataModule",
        "AudioDataModule",
        "AudioFolder",
        "BreastCancer",
        "CIFAR10",
        "Diabetes",
        "Digits",
        "ETTh1",
        "ETTh2",
        "FashionMNIST",
        "ImageArrays",
        "ImageDataModule",
        "ImageFolder",
        "Iris",
        "MNIST",
        "Moons",
        "Names",
        "SeriesCSV",
        "SeriesDataModule",
        "SeriesFolder",
        "Spirals",
        "SpokenDigits",
        "StreamedImages",
        "TableCSV",
        "TableDataModule",
        "TextDataModule",
        "TextFiles",
        "Wine",
        "XOR",
    ),
    "litnets.nets": (
        "AirNet",
        "CNN",
        "CNN1d",
        "Embedded",
        "LeNet",
        "MLP",
        "RNN",
        "ResNet",
        "TimmNet",
        "TorchvisionNet",
        "Transformer",
    ),
    "litnets.tasks": (
        "AirNetClassifier",
        "CNN1dClassifier",
        "CNN1dRegressor",
        "CNNClassifier",
        "CNNForecaster",
        "CNNRegressor",
        "Classifier",
        "Forecaster",
        "LeNetClassifier",
        "LeNetRegressor",
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
        "TimmClassifier",
        "TimmRegressor",
        "TorchvisionClassifier",
        "TorchvisionRegressor",
        "TransformerClassifier",
        "TransformerForecaster",
        "TransformerRegressor",
    ),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'litnets' has no attribute {name!r}")
    return import_object(f"{_WHERE[name]}.{name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
