"""Each network with each task, in two lines: `MLPClassifier`, `RNNForecaster` and so on.

A network brings its arguments (`litnets.tasks.networks`), and a task everything else.
"""

from collections.abc import Sequence
from typing import Any

from litnets.nets import cnn1d
from litnets.tasks.classification import Classifier
from litnets.tasks.forecasting import PatchForecaster, WindowForecaster
from litnets.tasks.networks.backbones import WithTimm, WithTorchvision, WithTorchvisionUNet
from litnets.tasks.networks.images import (
    WithAirNet,
    WithCNN,
    WithLeNet,
    WithResNet,
    WithUNet,
)
from litnets.tasks.networks.rows import WithLinear, WithMLP
from litnets.tasks.networks.sequences import WithCNN1d, WithEmbedding, WithRNN, WithTransformer
from litnets.tasks.regression import Regressor
from litnets.tasks.segmentation import Segmenter


class MLPClassifier(WithMLP, Classifier):
    """Classify with a multi-layer perceptron. It reads inputs of any shape as one row of numbers."""


class MLPRegressor(WithMLP, Regressor):
    """Predict numbers with a multi-layer perceptron. It reads inputs of any shape as one row of numbers."""


class MLPForecaster(WithMLP, WindowForecaster):
    """Forecast a series with a multi-layer perceptron."""


class LinearForecaster(WithLinear, WindowForecaster):
    """Forecast a series with a linear map from the look-back to the horizon: the baseline to beat.

    With `window_norm: last` it is NLinear, with `none` it is Linear of Zeng et al. 2023."""


class CNNClassifier(WithCNN, Classifier):
    """Classify images of at least 8x8 pixels with a convolutional network."""


class CNNRegressor(WithCNN, Regressor):
    """Predict numbers from images of at least 8x8 pixels with a convolutional network."""


class CNNForecaster(WithCNN1d, PatchForecaster):
    """Forecast a series with a 1D convolutional network.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        pooling: How the steps are reduced to one vector: `mean`, `max` or `last`.
        **rest: Arguments of the network and the task.
    """

    def __init__(self, input_shape: Sequence[int | None], *, pooling: cnn1d.Pooling = "last", **rest: Any) -> None:
        super().__init__(input_shape, pooling=pooling, **rest)


class ResNetClassifier(WithResNet, Classifier):
    """Classify images of about 32x32 pixels with a residual network (He et al. 2016)."""


class ResNetRegressor(WithResNet, Regressor):
    """Predict numbers from images of about 32x32 pixels with a residual network (He et al. 2016)."""


class AirNetClassifier(WithAirNet, Classifier):
    """Classify small images within a few epochs of training (Jordan 2024)."""


class LeNetClassifier(WithLeNet, Classifier):
    """Classify images of one size with LeNet-5 (LeCun et al. 1998)."""


class LeNetRegressor(WithLeNet, Regressor):
    """Predict numbers from images of one size with LeNet-5 (LeCun et al. 1998)."""


class TorchvisionClassifier(WithTorchvision, Classifier):
    """Classify images with any network of torchvision, such as AlexNet, VGG, ResNet or EfficientNet."""


class TorchvisionRegressor(WithTorchvision, Regressor):
    """Predict numbers from images with any network of torchvision."""


class TimmClassifier(WithTimm, Classifier):
    """Classify images with any network of timm."""


class TimmRegressor(WithTimm, Regressor):
    """Predict numbers from images with any network of timm."""


class UNetSegmenter(WithUNet, Segmenter):
    """Assign each pixel of an image a class with a U-Net (Ronneberger et al. 2015)."""


class TorchvisionUNetSegmenter(WithTorchvisionUNet, Segmenter):
    """Assign each pixel of an image a class with a U-Net whose encoder is a network of torchvision."""


class RNNClassifier(WithRNN, WithEmbedding, Classifier):
    """Classify sequences or texts with a recurrent network. It reads an image as a sequence of rows."""


class RNNRegressor(WithRNN, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a recurrent network. It reads an image as a sequence of rows."""


class RNNForecaster(WithRNN, PatchForecaster):
    """Forecast a series with a recurrent network, which predicts the entire horizon from its pooled states."""


class CNN1dClassifier(WithCNN1d, WithEmbedding, Classifier):
    """Classify sequences or texts with a 1D convolutional network. It reads an image as a sequence of rows."""


class CNN1dRegressor(WithCNN1d, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a 1D convolutional network."""


class TransformerClassifier(WithTransformer, WithEmbedding, Classifier):
    """Classify sequences or texts with a Transformer encoder. It reads an image as a sequence of rows."""


class TransformerRegressor(WithTransformer, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a Transformer encoder."""


class TransformerForecaster(WithTransformer, PatchForecaster):
    """Forecast a series with a Transformer encoder (with patches: Nie et al. 2023)."""
