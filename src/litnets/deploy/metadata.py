"""What a program needs to know of an exported network: its inputs, its outputs and how to read both."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from torch import Tensor

from litnets.analysis.predictor import Predictor
from litnets.deploy.formats import Format
from litnets.deploy.graph import INPUT_NAMES

_PACKAGES: dict[Format, tuple[str, ...]] = {
    "onnx": ("litnets", "torch", "onnx", "onnxscript", "onnxruntime"),
    "pt2": ("litnets", "torch"),
}
_CALIBRATION = ("temperature", "set_threshold", "half_widths")


def describe(
    predictor: Predictor, example: tuple[Tensor, ...], outputs: Mapping[str, Tensor], format: Format
) -> dict[str, Any]:
    """Return the metadata that is stored in an exported file, as plain values.

    Args:
        predictor: The network.
        example: A batch of raw inputs.
        outputs: The outputs for it, by name.
        format: The format of the file.
    """
    network, run = predictor.network, predictor.run
    return {
        "run": None if run is None else f"{run.folder.parent.name}/{run.folder.name}",
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES[format]}},
        "model": type(network).__name__,
        "data": type(predictor.datamodule).__name__,
        "inputs": _describe_inputs(example),
        "outputs": [_describe_tensor(name, value) for name, value in outputs.items()],
        "reading": predictor.datamodule.describe_reading(),
        "class_names": predictor.classes,
        **{name: _plain(getattr(network, name, None)) for name in ("target_names", "channel_names", "multilabel")},
        # The parts of a calibration that the graph contains.
        "calibration": {name: _plain(getattr(network, name, None)) for name in _CALIBRATION},
    }


def _describe_inputs(example: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    described = [_describe_tensor(name, value) for name, value in zip(INPUT_NAMES, example, strict=False)]
    if len(example) > 1:
        described[0]["shape"][1] = "length"
    return described


def _describe_tensor(name: str, value: Tensor) -> dict[str, Any]:
    dtype = str(value.dtype).removeprefix("torch.")
    return {"name": name, "dtype": dtype, "shape": ["batch", *value.shape[1:]]}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else list(value) if isinstance(value, (list, tuple)) else value
