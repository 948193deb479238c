"""The two formats of an exported network, ONNX and pt2: write a graph with its metadata, and run it."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from litnets.deploy.graph import INPUT_NAMES
from litnets.deploy.simplify import simplify
from litnets.errors import InputError
from litnets.internals import recurrent_layers_as_nodes

Format = Literal["onnx", "pt2"]
Outputs = Mapping[str, NDArray[Any]]

METADATA_KEY = "litnets"  # of the metadata in a file


class ExportedFile(Protocol):
    """A network that was read from a file.

    Attributes:
        metadata: The metadata that `write` stored in the file.
    """

    metadata: dict[str, Any]

    def __call__(self, *inputs: Tensor) -> Outputs:
        """Return the outputs for a batch of raw inputs."""


def check_packages(format: Format) -> None:
    """Raise InputError if a package that the format needs is not installed."""
    if format == "pt2":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f'{error.name} is not installed: pip install "litnets[export]"') from error


def write(program: ExportedProgram, format: Format, path: Path, outputs: Sequence[str], metadata: Any) -> None:
    """Write a graph to a file.

    Args:
        program: The graph.
        format: The format.
        path: The file.
        outputs: Names of the outputs of the graph.
        metadata: Plain values that describe inputs and outputs.
    """
    if format == "pt2":
        with warnings.catch_warnings():  # about weights whose channels come last (torch 2.15)
            warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
            torch.export.save(program, path, extra_files={METADATA_KEY: json.dumps(metadata)})
    else:
        _write_onnx(program, path, outputs, json.dumps(metadata))


def read(format: Format, path: Path, outputs: Sequence[str]) -> ExportedFile:
    """Read an exported network from a file. It computes with as many threads as torch does."""
    return OnnxFile(path) if format == "onnx" else ProgramFile(path, outputs)


class OnnxFile:
    """A network that ONNX Runtime runs."""

    def __init__(self, path: Path) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; warnings are about rewrites of the graph
        self.session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.metadata = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        self._names = [output.name for output in self.session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> Outputs:
        feeds = {name: value.numpy() for name, value in zip(INPUT_NAMES, inputs, strict=False)}
        return dict(zip(self._names, self.session.run(None, feeds), strict=True))


class ProgramFile:
    """A network that torch runs."""

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        extra = {METADATA_KEY: ""}
        self.module = torch.export.load(path, extra_files=extra).module()
        self.metadata = json.loads(extra[METADATA_KEY])

    def __call__(self, *inputs: Tensor) -> Outputs:
        with torch.no_grad():
            outputs: Mapping[str, Tensor] = self.module(*inputs)
        return {name: value.numpy() for name, value in outputs.items()}


def _write_onnx(program: ExportedProgram, path: Path, outputs: Sequence[str], metadata: str) -> None:
    from onnxscript import optimizer

    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    names = INPUT_NAMES[: len(program.graph_signature.user_inputs)]
    try:
        with recurrent_layers_as_nodes():
            exported = torch.onnx.export(
                program,
                input_names=names,
                output_names=outputs,
                verbose=False,
                optimize=False,
                custom_translation_table={torch.ops.aten.rnn_tanh.input: _rnn_tanh},
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(
            f"the graph cannot be written as ONNX: {str(error).splitlines()[0]}; try --format pt2"
        ) from error
    assert exported is not None
    # The complete optimization of onnxscript 0.7 takes numbers up to 1e-8 for zero, and drops the floor of
    # log(power + 1e-8). ONNX Runtime does the rest when it loads the file.
    optimizer.fold_constants(exported.model)
    simplify(exported.model)
    optimizer.remove_unused_nodes(exported.model)
    axes: dict[Any, str] = {}
    for value in exported.model.graph.inputs:
        for name, size in zip(("batch", "length"), value.shape or (), strict=False):
            if not isinstance(size, int):
                axes[size] = name
    exported.rename_axes(axes)
    exported.model.metadata_props[METADATA_KEY] = metadata
    exported.save(path)


def _rnn_tanh(
    x: Any,
    initial: Any,
    weights: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """Translate torch's recurrent layer with tanh to ONNX. onnxscript 0.7 translates only LSTM and GRU."""
    from onnxscript import opset18

    op: Any = opset18
    if num_layers != 1 or bidirectional or not has_biases or not batch_first:
        raise NotImplementedError("nn.RNN: expected one layer and direction, with biases and the batch first")
    kernel, recurrent, kernel_bias, recurrent_bias = weights
    steps, last = op.RNN(
        op.Transpose(x, perm=[1, 0, 2]),
        op.Unsqueeze(kernel, [0]),
        op.Unsqueeze(recurrent, [0]),
        op.Unsqueeze(op.Concat(kernel_bias, recurrent_bias, axis=0), [0]),
        initial_h=initial,
        activations=["Tanh"],
        hidden_size=recurrent.shape[0],
    )  # (T, 1, N, H), (1, N, H)
    return op.Transpose(op.Squeeze(steps, [1]), perm=[1, 0, 2]), last
