"""The graph of a network answers as the network, for batches and sequences of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from litnets.deploy.formats import read, write
from litnets.deploy.graph import trace
from litnets.errors import InputError
from litnets.nets import RNN, CNN1d, Transformer, UNet

onnx = pytest.importorskip("onnx", reason="needs the extra export")

METADATA = {"class_names": ["a", "b"]}


class Named(nn.Module):
    """A network with a name for its outputs, and its own name in errors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        return {"prediction": self.network(inputs) if lengths is None else self.network(inputs, lengths)}


def sequences(samples: int, steps: int) -> tuple[Tensor, Tensor]:
    lengths = torch.randint(1, steps + 1, (samples,))
    lengths[0] = steps
    return torch.randn(samples, steps, 5), lengths


def export(network: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    return trace(Named(network.eval()), example)  # type: ignore[arg-type]


def assert_equal_answers(
    network: nn.Module, program: ExportedProgram, format: Any, *batches: tuple[Tensor, ...]
) -> None:
    path = Path(f"model.{format}")
    write(program, format, path, ["prediction"], METADATA)
    file = read(format, path, ["prediction"])
    assert file.metadata == METADATA
    for batch in batches:
        with torch.no_grad():
            expected = network(*batch)
        np.testing.assert_allclose(file(*batch)["prediction"], expected, atol=1e-5)


CELLS = ["rnn", pytest.param("gru", marks=pytest.mark.slow), pytest.param("lstm", marks=pytest.mark.slow)]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.slow
def test_recurrent_layers_read_sequences_of_any_length(cell: Any) -> None:
    network = RNN(5, 2, hidden_size=3, cell=cell, bidirectional=True, pooling="attention")
    program = export(network, sequences(3, 4))
    for format in ("onnx", "pt2"):
        assert_equal_answers(network, program, format, sequences(3, 4), sequences(1, 1), sequences(2, 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        RNN(5, 2, hidden_size=3, num_layers=2, pooling="last", conv_widths=[2, 3]),
        CNN1d(5, 2, widths=[4, 4], pooling="last"),
        CNN1d(5, 2, widths=[4, 4], norm="batch", residual=True),
        Transformer(5, 2, hidden_size=8, num_layers=1, pooling="first"),
    ],
    ids=["rnn", "cnn1d", "cnn1d-batch", "transformer"],
)
def test_networks_read_sequences_of_any_length(network: nn.Module) -> None:
    program = export(network, sequences(3, 4))
    assert_equal_answers(network, program, "onnx", sequences(3, 4), sequences(1, 1), sequences(2, 9))


@pytest.mark.slow
def test_masks() -> None:
    network = UNet(1, 2, widths=(4, 8))
    program = export(network, (torch.randn(1, 1, 12, 20),))
    assert_equal_answers(network, program, "onnx", (torch.randn(3, 1, 12, 20),))


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_exported_is_an_error() -> None:
    with pytest.raises(InputError, match=r"Branch cannot be exported: .*no branches that depend on the values"):
        export(Branch(), (torch.ones(2, 3),))


class Floor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * x + 1e-8).log()


def test_small_constants_are_kept() -> None:
    assert_equal_answers(Floor(), export(Floor(), (torch.ones(2, 3),)), "onnx", (torch.zeros(2, 3),))


class Sizes(nn.Module):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        samples, steps, features = x.shape
        rows = x.flatten(0, 1) / torch.tensor([1.0, 2, 3, 4, 0])  # zero has no reciprocal
        return rows.view(samples, steps, features).flatten(1) / 3  # the view has two sizes that cannot be inferred


def test_sizes_become_constants_and_divisions_become_multiplications() -> None:
    program = export(Sizes(), sequences(3, 4))
    assert_equal_answers(Sizes(), program, "onnx", sequences(1, 1), sequences(2, 9))
    nodes = [node for node in onnx.load("model.onnx").graph.node if node.op_type != "Constant"]
    operations = [node.op_type for node in nodes]
    assert operations.count("Div") == operations.count("Mul") == 1
    assert operations.count("Concat") == 1
    sizes = [node.input[1] for node in nodes if node.op_type == "Reshape"]
    assert [name.endswith("_constant") for name in (sizes[0], sizes[-1])] == [True, True]
