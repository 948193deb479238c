"""One-dimensional convolutional networks as LightningModules."""

from collections.abc import Sequence
from typing import Any

from litnets.nets import CNN1d
from litnets.nets.cnn1d import Norm, Pooling
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.embedding import embedded
from litnets.nets.layers.initialization import Init
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import step_size


class CNN1dClassifier(Classifier):
    """A convolutional network along the steps of sequences or texts, that classifies them; an image is read row by row.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width) or (steps,) of tokens; linked from
            the data.
        num_classes: Number of classes; linked from the data.
        vocab_size: Number of tokens where the inputs are tokens; linked from the data.
        embedding_size: Numbers in the learnt vector of a token, where the inputs are tokens.
        widths: Channels of each stage; the steps are halved between stages.
        blocks_per_stage: Convolution blocks in each stage.
        kernel_size: Odd number of steps that a convolution sees.
        activation: Name of the activation.
        norm: `layer`, `batch` or `none`.
        dropout: Probability that a channel (between stages) or a feature (before the last layer) is dropped.
        residual: Add each block's input to its output.
        pooling: How the steps become one vector: `mean`, `max` or `last`.
        init: How the weights start.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        vocab_size: int | None = None,
        embedding_size: int = 64,
        widths: Sequence[int] = (64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 5,
        activation: Activation = "relu",
        norm: Norm = "layer",
        dropout: float = 0.0,
        residual: bool = False,
        pooling: Pooling = "max",
        init: Init = "default",
        **task: Any,
    ) -> None:
        net = CNN1d(
            embedding_size if vocab_size else step_size(input_shape, type(self).__name__),
            num_logits(num_classes, type(self).__name__, task),
            widths,
            blocks_per_stage,
            kernel_size,
            activation,
            norm,
            dropout,
            residual,
            pooling,
            init,
        )
        super().__init__(embedded(net, vocab_size, embedding_size, init), num_classes=num_classes, **task)
