"""MLP: a stack of fully connected layers."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from litnets.nets.layers.activation import ACTIVATIONS, Activation
from litnets.nets.layers.initialization import Init, initialize
from litnets.nets.layers.normalization import BatchNorm1d

T = TypeVar("T")


class MLP(nn.Module):
    """Multi-layer perceptron. A hidden layer is a linear map, batch normalization, activation and dropout.

    Takes `(N, ...)`, flattens all but the first dimension to `in_features`, and returns `(N, out_features)`.
    `activation`, `dropout` and `batch_norm` are one value for all hidden layers or a list with one per layer.

        net = MLP(784, 10, hidden_layer_sizes=(256, 128), dropout=[0.2, 0.5])
        net(torch.randn(32, 1, 28, 28))  # (32, 10)

    Args:
        in_features: Number of values in one sample.
        out_features: Number of outputs (classes or targets).
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Name of the activation.
        dropout: Dropout probability after the activation, in [0, 1).
        batch_norm: Whether to apply batch normalization.
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`; `he` uses the gain of each
            layer's activation.
        linear_skip: Whether to add a linear map of the input to the output (as TiDE of Das et al. 2023 does). This map
            and the last layer then start at zero, so that the network adds only what a linear model misses.

    Raises:
        ValueError: A list whose length is not the number of hidden layers.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | Sequence[Activation] = "relu",
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool | Sequence[bool] = False,
        init: Init = "default",
        linear_skip: bool = False,
    ) -> None:
        super().__init__()
        depth = len(hidden_layer_sizes)
        activations: list[Activation] = _one_per_layer("activation", activation, depth)
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [in_features, *hidden_layer_sizes]
        for fan_in, fan_out, act, drop, norm in zip(
            sizes[:-1],
            sizes[1:],
            activations,
            _one_per_layer("dropout", dropout, depth),
            _one_per_layer("batch_norm", batch_norm, depth),
            strict=True,
        ):
            layers.append(nn.Linear(fan_in, fan_out))
            if norm:
                layers.append(BatchNorm1d(fan_out))
            layers.append(ACTIVATIONS[act]())
            if drop:
                layers.append(nn.Dropout(drop))
        layers.append(nn.Linear(sizes[-1], out_features))
        self.layers = nn.Sequential(*layers)
        # Like a hidden layer, the last layer is initialized for the activation before it.
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        last = activations[-1] if activations else "identity"
        for layer, act in zip(linear, [*activations, last], strict=True):
            initialize(layer, init, act)
        self.skip: nn.Linear | None = None
        if linear_skip:
            self.skip = nn.Linear(in_features, out_features, bias=False)
            initialize(self.skip, "zeros")
            initialize(linear[-1], "zeros")

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, ...)` to `(N, out_features)`."""
        out: Tensor = self.layers(x)
        return out if self.skip is None else out + self.skip(x.flatten(1))


def _one_per_layer(name: str, value: T | Sequence[T], depth: int) -> list[T]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * depth
    if len(value) != depth:
        raise ValueError(f"{name}: expected one value or one for each of the {depth} hidden layers, got {len(value)}")
    return list(value)
