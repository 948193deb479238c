"""Recurrent networks as LightningModules."""

from collections.abc import Sequence
from typing import Any

from litnets.nets import RNN
from litnets.nets.layers.embedding import embedded
from litnets.nets.layers.initialization import Init
from litnets.nets.rnn import Cell, Pooling
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import check_rows, step_size
from litnets.tasks.regression import Regressor, num_values


class RNNClassifier(Classifier):
    """A recurrent network that classifies sequences or texts; an image is read some rows at a time.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width) or (steps,) of tokens; linked from
            the data.
        num_classes: Number of classes; linked from the data.
        vocab_size: Number of tokens where the inputs are tokens; linked from the data.
        embedding_size: Numbers in the learnt vector of a token, where the inputs are tokens.
        hidden_size: Units of each layer and direction.
        num_layers: Layers.
        cell: `lstm`, `gru` or `rnn`.
        bidirectional: Read the sequence from both ends.
        dropout: Probability that a unit is dropped between layers and before the last layer.
        pooling: How the steps become one vector: `last` (valid one), `mean`, `max` or `attention`.
        init: How the weights start.
        rows_per_step: Rows of an image in one step, a divisor of its height: fewer steps take less time.
        conv_widths: Steps that convolutions beside the recurrent layers see, one for each width, for short patterns;
            none by default (Kim 2014).
        conv_channels: Channels of each of these convolutions.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        vocab_size: int | None = None,
        embedding_size: int = 64,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        init: Init = "default",
        rows_per_step: int = 1,
        conv_widths: Sequence[int] = (),
        conv_channels: int = 128,
        **task: Any,
    ) -> None:
        check_rows(rows_per_step, input_shape, type(self).__name__)
        net = RNN(
            embedding_size if vocab_size else step_size(input_shape, type(self).__name__) * rows_per_step,
            num_logits(num_classes, type(self).__name__, task),
            hidden_size,
            num_layers,
            cell,
            bidirectional,
            dropout,
            pooling,
            init,
            rows_per_step,
            conv_widths,
            conv_channels,
        )
        super().__init__(embedded(net, vocab_size, embedding_size, init), num_classes=num_classes, **task)


class RNNRegressor(Regressor):
    """A recurrent network that predicts numbers from sequences; an image is read some rows at a time.

    Args:
        input_shape: Shape of one input, (steps, features) or (channels, height, width); linked from the data.
        num_targets: Numbers in one target; linked from the data.
        hidden_size: Units of each layer and direction.
        num_layers: Layers.
        cell: `lstm`, `gru` or `rnn`.
        bidirectional: Read the sequence from both ends.
        dropout: Probability that a unit is dropped between layers and before the last layer.
        pooling: How the steps become one vector: `last` (valid one), `mean`, `max` or `attention`.
        init: How the weights start.
        rows_per_step: Rows of an image in one step, a divisor of its height: fewer steps take less time.
        **task: Arguments of `Regressor` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_targets: int | None,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        init: Init = "default",
        rows_per_step: int = 1,
        **task: Any,
    ) -> None:
        count = num_values(num_targets, type(self).__name__)  # first: what reads these inputs as well may not fit
        check_rows(rows_per_step, input_shape, type(self).__name__)
        net = RNN(
            step_size(input_shape, type(self).__name__) * rows_per_step,
            count,
            hidden_size,
            num_layers,
            cell,
            bidirectional,
            dropout,
            pooling,
            init,
            rows_per_step,
        )
        super().__init__(net, num_targets=num_targets, **task)
