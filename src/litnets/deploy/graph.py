"""The exported network: one module from raw inputs to predictions, and its graph."""

import warnings
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from litnets.analysis.predictor import Predictor
from litnets.errors import InputError
from litnets.internals import recurrent_layers_as_nodes

INPUT_NAMES = ("inputs", "lengths")


class ExportedNetwork(nn.Module):
    """A network with the preparation of its inputs, as one module.

    It takes raw inputs, `(N, ...)`, in the type in which the DataModule reads them: uint8 pixels, tokens, the columns
    of a table, the values of a series or int16 samples of a recording. Sequences of different lengths are padded with
    zeros to `(N, T, ...)`, with their lengths as a second input `(N,)`. It returns what `predict_step` returns, by
    name: `prediction` in the units of the data, and the `probability` of each class.

    Args:
        predictor: The network, whose weights are copied.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        # Copies, because the export is compared with the predictor, which must not change with it.
        self.prepare = deepcopy(predictor.prepare)
        self.network = deepcopy(predictor.network)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        prepared = self.prepare(inputs if lengths is None else (inputs, lengths))
        outputs = self.network.predict_step((prepared, None), 0)
        return dict(outputs) if isinstance(outputs, Mapping) else {"prediction": outputs}


def as_tuple(raw: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a batch of raw inputs as the arguments of `ExportedNetwork`."""
    return raw if isinstance(raw, tuple) else (raw,)


def trace(network: ExportedNetwork, example: tuple[Tensor, ...]) -> ExportedProgram:
    """Return the graph of a network for batches of any size and, with lengths, sequences of any length.

    Args:
        network: The network.
        example: A batch of raw inputs.

    Raises:
        InputError: The network does something that torch.export does not support.
    """
    shapes: list[dict[int, Dim]] = [{0: Dim.DYNAMIC} for _ in example]
    if len(example) > 1:
        shapes[0][1] = Dim.DYNAMIC
    with torch.no_grad(), warnings.catch_warnings(), recurrent_layers_as_nodes():
        # torch.nn.RNNBase replaces its list of weights while it is traced (torch 2.15).
        warnings.filterwarnings("ignore", r"The tensor attributes? .*_flat_weights\[", UserWarning)
        try:
            return torch.export.export(network, _at_least_two(example), dynamic_shapes=tuple(shapes))
        except RuntimeError as error:
            raise InputError(
                f"{type(network.network).__name__} cannot be exported: {str(error).splitlines()[0]}; its layers must "
                "use torch operations only, and no branches that depend on the values (--debug shows the place)"
            ) from error


def _at_least_two(example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return an example with at least two samples and two steps, because torch.export treats a size of one as fixed."""
    first, *lengths = example
    samples = torch.arange(max(2, first.shape[0])) % first.shape[0]
    first = first[samples]
    if lengths and first.shape[1] == 1:
        first = torch.cat([first, torch.zeros_like(first)], 1)
    return (first, *(one[samples] for one in lengths))
