"""How the weights of a network start, by name, the same way for every network."""

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

Init = Literal["default", "xavier", "he", "orthogonal", "normal", "zeros"]

# The negative slope or name that torch.nn.init.calculate_gain knows an activation by. What it does not know (GELU,
# SiLU, ELU ...) is close enough to ReLU for the gain sqrt(2) to be the usual choice.
_GAIN_NAME = {"identity": "linear", "sigmoid": "sigmoid", "tanh": "tanh", "leaky_relu": "leaky_relu"}


def initialize(net: nn.Module, init: Init = "default", activation: str = "relu") -> None:
    """Fill the weights of `net` in place.

    Every weight of two or more dimensions (linear, convolution, recurrent, embedding) is drawn as `init` says, every
    bias is set to zero; normalisation layers keep the ones and zeros they start with. A recurrent weight holds its
    gates one above the other (LSTM 4, GRU 3) and is filled gate by gate, so that fan and orthogonality are those of
    one gate.

    Args:
        net: Any module.
        init: `default` leaves everything as PyTorch made it; `xavier` is Glorot and Bengio 2010, uniform; `he` is He
            et al. 2015, normal with fan-in, its gain matched to the activation; `orthogonal` is Saxe et al. 2014;
            `normal` draws from N(0, 0.01^2); `zeros` is there to see that it fails: all units stay equal.
        activation: Name of the activation (see `litnets.nets.layers.activation.ACTIVATIONS`), for the gain of `he`.
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
