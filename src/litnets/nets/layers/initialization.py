"""Weight initialization by name, the same for every network."""

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

Init = Literal["default", "xavier", "he", "orthogonal", "normal", "zeros"]

# Names of activations in torch.nn.init.calculate_gain. The others (GELU, SiLU, ELU, ...) are close enough to ReLU that
# its gain of sqrt(2) is the usual choice.
_GAIN_NAME = {"identity": "linear", "sigmoid": "sigmoid", "tanh": "tanh", "leaky_relu": "leaky_relu"}


def initialize(net: nn.Module, init: Init = "default", activation: str = "relu") -> None:
    """Initialize the weights of `net` in place.

    All weights with at least two dimensions (linear, convolutional, recurrent, embedding) are filled, biases are set to
    zero, and normalization layers are left alone. A recurrent weight stacks the weights of its gates (LSTM 4, GRU 3);
    each gate is filled separately, so that fan-in and orthogonality are those of one gate.

    Args:
        net: Any module.
        init: `default` keeps PyTorch's initialization; `xavier` is uniform (Glorot and Bengio 2010); `he` is normal,
            with fan-in and the gain of the activation (He et al. 2015); `orthogonal` is that of Saxe et al. (2014);
            `normal` samples from N(0, 0.01^2); `zeros` makes all units of a layer equal, which trains only a linear
            network.
        activation: Name of the activation, for the gain of `he`; see `litnets.nets.layers.activation.ACTIVATIONS`.

    Raises:
        ValueError: An unknown name.
    """
    if init == "default":
        return
    fill = _filler(init, activation)
    for module in net.modules():
        gates = {"LSTM": 4, "GRU": 3}.get(getattr(module, "mode", ""), 1) if isinstance(module, nn.RNNBase) else 1
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2:
                for gate in parameter.data.chunk(gates):
                    fill(gate)
            elif name.startswith("bias"):
                nn.init.zeros_(parameter)


def _filler(init: Init, activation: str) -> Callable[[Tensor], Tensor]:
    if init == "xavier":
        return nn.init.xavier_uniform_
    if init == "he":
        name = _GAIN_NAME.get(activation, "relu")
        # LeakyReLU's slope is 0.01 in this project, PyTorch's default.
        gain = nn.init.calculate_gain(name, 0.01 if name == "leaky_relu" else None)  # type: ignore[arg-type]

        def he(weight: Tensor) -> Tensor:
            fan_in = weight[0].numel()
            return nn.init.normal_(weight, std=gain / math.sqrt(fan_in))

        return he
    if init == "orthogonal":
        return nn.init.orthogonal_
    if init == "normal":
        return lambda weight: nn.init.normal_(weight, std=0.01)
    if init == "zeros":
        return nn.init.zeros_
    raise ValueError(f"init: expected default, xavier, he, orthogonal, normal or zeros, got {init!r}")
