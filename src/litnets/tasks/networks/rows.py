"""Networks that read inputs of any shape as one row of numbers."""

from collections.abc import Sequence
from typing import Any, ClassVar

from litnets.nets import MLP
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.base import NetFactory, Task
from litnets.tasks.input_shapes import InputKind, Shape, flat_size

_FLAT: frozenset[InputKind] = frozenset({"row", "sequence", "image"})


class WithLinear(Task):
    """A linear layer, for any task.

    Args:
        input_shape: Shape of one input; linked from the data.
        init: Weight initialization; with `zeros`, forecasts are constant before training.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _FLAT

    def __init__(self, input_shape: Sequence[int | None], *, init: Init = "default", **task: Any) -> None:
        def build(shape: Shape, out_features: int) -> MLP:
            return MLP(flat_size(shape, type(self)), out_features, hidden_layer_sizes=(), init=init)

        super().__init__(NetFactory(input_shape, build), **task)


class WithMLP(Task):
    """A multi-layer perceptron, for any task. It reads inputs of any shape as one row of numbers.

    Args:
        input_shape: Shape of one input; linked from the data.
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Activation of all hidden layers, or a list with one per layer.
        dropout: Dropout probability after each hidden layer, or a list with one per layer.
        batch_norm: Whether to apply batch normalization before the activation, or a list with one per layer.
        init: Weight initialization.
        linear_skip: Whether to add a linear map of the input to the output.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _FLAT

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | list[Activation] = "relu",
        dropout: float | list[float] = 0.0,
        batch_norm: bool | list[bool] = False,
        init: Init = "default",
        linear_skip: bool = False,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> MLP:
            in_features = flat_size(shape, type(self))
            return MLP(
                in_features, out_features, hidden_layer_sizes, activation, dropout, batch_norm, init, linear_skip
            )

        super().__init__(NetFactory(input_shape, build), **task)
