"""One input of a network, as it was read and as it is prepared, and how its attributions are summed up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from litnets.analysis.predictor import Predictor
from litnets.data.core.batching import ArrayDataset, RaggedDataset

Kind = Literal["image", "text", "audio", "series", "row"]
Reduction = Literal["sum", "mean", "norm"]


@dataclass(frozen=True)
class Example:
    """An input to explain.

    Args:
        name: Its file, row or text, for tables and pictures.
        kind: What it is.
        raw: The input as it was read, without its length.
        inputs: The inputs of the network, a batch of one: an image `(1, C, H, W)`, a row `(1, features)`, a sequence
            `(1, T, features)` or tokens `(1, T)`, then its length if sequences vary in length.
        groups: For each column or channel, by name, its indices in the last axis of the inputs. Empty if unnamed.
        tokens: The tokens of a text.
    """

    name: str
    kind: Kind
    raw: Tensor
    inputs: tuple[Tensor, ...]
    groups: dict[str, list[int]]
    tokens: list[str]

    @property
    def positions(self) -> list[str]:
        """Names of the values of a map that has one axis: the tokens of a text, or the columns of a row."""
        return self.tokens if self.kind == "text" else list(self.groups)


def prepare_examples(
    predictor: Predictor, samples: ArrayDataset | RaggedDataset, indices: Iterable[int], names: Sequence[str]
) -> list[Example]:
    """Prepare samples one by one, so that no sequence is padded.

    Args:
        predictor: Prepares them as in training.
        samples: Samples as they were read.
        indices: Indices of those to prepare.
        names: Name of each of these.
    """
    kind = cast(Kind, predictor.datamodule.input_kind)
    examples = []
    for index, name in zip(indices, names, strict=False):
        raw, _ = samples[torch.tensor([index])]
        inputs = prepare(predictor, raw)
        values = raw if isinstance(raw, Tensor) else raw[0]
        groups = {} if kind in ("image", "text", "audio") else predictor.datamodule.feature_groups()
        if kind == "row" and not groups:
            groups = {str(i): [i] for i in range(inputs[0].shape[1])}
        tokens = predictor.datamodule.decode_tokens(inputs[0][0]) if kind == "text" else []
        examples.append(Example(name, kind, values[0], inputs, groups, tokens))
    return examples


def prepare(predictor: Predictor, raw: Any) -> tuple[Tensor, ...]:
    """Return the inputs of the network for a batch as it was read; floating-point numbers become float32."""
    with torch.no_grad():
        prepared = predictor.prepare(move_data_to_device(raw, predictor.device))
    tensors = prepared if isinstance(prepared, (tuple, list)) else (prepared,)
    return tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors)


def reduce_map(values: Tensor, example: Example, reduction: Reduction) -> Tensor:
    """Reduce the attributions of features to a map that people can read.

    An image gets a value per pixel, a text per token, a row per column, and a sequence per step and feature.

    Args:
        values: The attribution of each feature, without the axis of the batch.
        example: The input.
        reduction: How the channels of a pixel, the dimensions of an embedding, or the features of a column are
            combined.
    """
    if example.kind == "image":
        return _reduce(values, 0, reduction)
    if example.kind == "text":
        return _reduce(values, 1, reduction)
    if example.kind == "row":
        return torch.stack([_reduce(values[indices], 0, reduction) for indices in example.groups.values()])
    return values


def _reduce(values: Tensor, axis: int, reduction: Reduction) -> Tensor:
    if reduction == "norm":
        norms: Tensor = torch.linalg.vector_norm(values, dim=axis)
        return norms
    return values.sum(dim=axis) if reduction == "sum" else values.mean(dim=axis)
