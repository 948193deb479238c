"""Multi-layer perceptrons as LightningModules."""

from collections.abc import Sequence
from typing import Any

from litnets.nets import MLP
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import flat_size
from litnets.tasks.regression import Regressor, num_values


class MLPClassifier(Classifier):
    """A multi-layer perceptron that classifies; whatever the shape of an input, it is read as one row of numbers.

    Args:
        input_shape: Shape of one input; linked from the data.
        num_classes: Number of classes; linked from the data.
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Name of the activation, one for all hidden layers or a list of one a layer.
        dropout: Probability that a hidden unit is dropped, one or a list.
        batch_norm: Whether a hidden layer normalises over the batch before its activation, one or a list.
        init: How the weights start.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | list[Activation] = "relu",
        dropout: float | list[float] = 0.0,
        batch_norm: bool | list[bool] = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        net = MLP(
            flat_size(input_shape, type(self).__name__),
            num_logits(num_classes, type(self).__name__, task),
            hidden_layer_sizes,
            activation,
            dropout,
            batch_norm,
            init,
        )
        super().__init__(net, num_classes=num_classes, **task)


class MLPRegressor(Regressor):
    """A multi-layer perceptron that predicts numbers; whatever the shape of an input, it is read as one row of numbers.

    Args:
        input_shape: Shape of one input; linked from the data.
        num_targets: Numbers in one target; linked from the data.
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Name of the activation, one for all hidden layers or a list of one a layer.
        dropout: Probability that a hidden unit is dropped, one or a list.
        batch_norm: Whether a hidden layer normalises over the batch before its activation, one or a list.
        init: How the weights start.
        **task: Arguments of `Regressor` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_targets: int | None,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | list[Activation] = "relu",
        dropout: float | list[float] = 0.0,
        batch_norm: bool | list[bool] = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        net = MLP(
            flat_size(input_shape, type(self).__name__),
            num_values(num_targets, type(self).__name__),
            hidden_layer_sizes,
            activation,
            dropout,
            batch_norm,
            init,
        )
        super().__init__(net, num_targets=num_targets, **task)
