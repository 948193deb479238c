"""Find layers of any network by running it: for Grad-CAM, the first filters, and the last hidden units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class Call(NamedTuple):
    """The last call of a module: the shape of its output, and whether it read the inputs of the network directly."""

    module: nn.Module
    output_shape: torch.Size
    reads_inputs: bool


def run(network: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """Return the outputs of a network for the inputs of a batch."""
    outputs: Tensor = network(inputs[0] if len(inputs) == 1 else tuple(inputs))
    return outputs


def trace(network: nn.Module, inputs: Sequence[Tensor]) -> tuple[list[Call], Tensor]:
    """Run a network, and return the calls of its modules in the order in which they ended, and the outputs."""
    calls: dict[nn.Module, Call] = {}

    def record(module: nn.Module, arguments: Any, output: Any) -> None:
        calls.pop(module, None)  # only the last call counts, as in captum
        if isinstance(output, Tensor) and arguments and isinstance(arguments[0], Tensor):
            reads_inputs = arguments[0].data_ptr() == inputs[0].data_ptr()
            calls[module] = Call(module, output.shape, reads_inputs)

    handles = [module.register_forward_hook(record) for module in network.modules() if module is not network]
    try:
        with torch.no_grad():
            outputs = run(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return list(calls.values()), outputs


def cam_layer(network: nn.Module, inputs: Sequence[Tensor]) -> Call | None:
    """Return the layer for Grad-CAM, or None if the network has no convolution with positions.

    It is the last convolution, in the order of execution, whose kernel and output have more than one position. This
    leaves out the 1x1 convolutions of shortcuts and of the outputs of a segmentation. If modules with an output of the
    same shape follow, such as a normalization or the sum of a residual block, the last of them is returned.
    """
    calls, outputs = trace(network, inputs)
    layer: Call | None = None
    shape: torch.Size | None = None
    for call in calls:
        if isinstance(call.module, CONVOLUTIONS):
            if max(call.module.kernel_size) == 1 or call.output_shape[2:].numel() == 1:
                continue
            shape = call.output_shape
        is_container_of_outputs = call.output_shape == outputs.shape and any(True for _ in call.module.children())
        if call.output_shape == shape and not is_container_of_outputs:
            layer = call
    return layer


def first_layer(network: nn.Module, inputs: Sequence[Tensor]) -> nn.Linear | nn.Conv1d | nn.Conv2d | None:
    """Return the first layer with weights that runs; None unless it is a linear layer or convolution of the inputs."""
    calls, _ = trace(network, inputs)
    layer = next((call.module for call in calls if _has_matrix(call.module)), None)
    first = inputs[0]
    if isinstance(layer, nn.Conv2d):
        return layer if first.ndim == 4 and layer.in_channels == first.shape[1] else None
    if isinstance(layer, nn.Conv1d):
        return layer if first.ndim == 3 and layer.in_channels == first.shape[2] else None
    if isinstance(layer, nn.Linear) and first.is_floating_point():
        return layer if layer.in_features in (*first.shape[1:], first[0].numel()) else None
    return None


def last_linear(network: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Return the name of the linear layer that computes the outputs from hidden units, or None if there is none."""
    calls, outputs = trace(network, inputs)
    heads = [
        call.module
        for call in calls
        if isinstance(call.module, nn.Linear) and call.output_shape.numel() == outputs.numel() and not call.reads_inputs
    ]
    return next((name for name, module in network.named_modules() if heads and module is heads[-1]), None)


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
