"""Convolutional networks as LightningModules."""

from collections.abc import Sequence
from typing import Any, Literal

from litnets.nets import CNN
from litnets.nets.cnn import Norm
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import image_channels
from litnets.tasks.regression import Regressor, num_values


class CNNClassifier(Classifier):
    """A convolutional network that classifies images from 8x8 pixels up.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        num_classes: Number of classes; linked from the data.
        widths: Channels of each stage; each stage halves the image.
        blocks_per_stage: Convolution blocks in each stage.
        kernel_size: Odd side of the square kernels.
        activation: Name of the activation.
        norm: `batch`, `group` or `none`.
        pool: How a stage halves the image: `max`, `avg`, or `stride`.
        dropout: Probability that a channel (between stages) or a feature (before the last layer) is dropped.
        residual: Add each block's input to its output.
        init: How the weights start.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        widths: Sequence[int] = (32, 64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: Norm = "batch",
        pool: Literal["max", "avg", "stride"] = "max",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        channels = image_channels(input_shape, type(self).__name__)
        net = CNN(
            channels,
            num_logits(num_classes, type(self).__name__, task),
            widths,
            blocks_per_stage,
            kernel_size,
            activation,
            norm,
            pool,
            dropout,
            residual,
            init,
        )
        super().__init__(net, num_classes=num_classes, **task)


class CNNRegressor(Regressor):
    """A convolutional network that predicts numbers from images from 8x8 pixels up.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        num_targets: Numbers in one target; linked from the data.
        widths: Channels of each stage; each stage halves the image.
        blocks_per_stage: Convolution blocks in each stage.
        kernel_size: Odd side of the square kernels.
        activation: Name of the activation.
        norm: `batch`, `group` or `none`.
        pool: How a stage halves the image: `max`, `avg`, or `stride`.
        dropout: Probability that a channel (between stages) or a feature (before the last layer) is dropped.
        residual: Add each block's input to its output.
        init: How the weights start.
        **task: Arguments of `Regressor` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_targets: int | None,
        widths: Sequence[int] = (32, 64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: Norm = "batch",
        pool: Literal["max", "avg", "stride"] = "max",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        channels = image_channels(input_shape, type(self).__name__)
        net = CNN(
            channels,
            num_values(num_targets, type(self).__name__),
            widths,
            blocks_per_stage,
            kernel_size,
            activation,
            norm,
            pool,
            dropout,
            residual,
            init,
        )
        super().__init__(net, num_targets=num_targets, **task)
