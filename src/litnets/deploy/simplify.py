"""Simplify the ONNX graph of a network: for a single sample, every node costs about as much as a small layer."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


def simplify(model: Any) -> None:
    """Replace nodes of a model with cheaper ones. Results stay the same up to the rounding of divisions.

    Args:
        model: The model, an `onnx_ir.Model`. It keeps nodes that are no longer used.
    """
    for node in model.graph:
        if node.op_type == "Reshape":
            _make_sizes_constant(node)
        elif node.op_type == "Div":
            _multiply_by_reciprocal(node)


def _make_sizes_constant(node: Any) -> None:
    """Let a Reshape copy or infer its dynamic sizes, instead of computing them from the shape of a tensor."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or 0 in after:
        return
    # In a Reshape, 0 copies the size of the same axis of the input, and -1 is inferred from the other sizes.
    sizes = [
        size if isinstance(size, int) else 0 if size.value and size in before[axis : axis + 1] else -1
        for axis, size in enumerate(after)
    ]
    if sizes.count(-1) <= 1:
        node.attributes.pop("allowzero", None)  # which would make 0 a size
        _replace_second_input(node, sizes, np.int64)


def _multiply_by_reciprocal(node: Any) -> None:
    """Multiply instead of dividing by a constant."""
    divisor = node.inputs[1].const_value
    if divisor is None or divisor.numpy().dtype != np.float32:
        return
    with np.errstate(divide="ignore", over="ignore"):
        reciprocal = 1 / divisor.numpy()
    if np.isfinite(reciprocal).all():
        node.op_type = "Mul"
        _replace_second_input(node, reciprocal, np.float32)


def _replace_second_input(node: Any, constant: ArrayLike, dtype: DTypeLike) -> None:
    import onnx_ir

    array = np.asarray(constant, dtype)
    name = f"{node.outputs[0].name}_constant"
    value = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(array, name=name))
    value.shape, value.dtype = onnx_ir.Shape(array.shape), onnx_ir.DataType.from_numpy(array.dtype)
    node.graph.register_initializer(value)
    node.replace_input_with(1, value)
