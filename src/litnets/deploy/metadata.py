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
from litnets.runs.storage import read_json

_PACKAGES: dict[Format, tuple[str, ...]] = {
    "onnx": ("litnets", "torch", "onnx", "onnxscript", "onnxruntime"),
    "pt2": ("litnets", "torch"),
}


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
    calibration = None if run is None else run.folder / "calibration.json"
    return {
        "run": None if run is None else f"{run.folder.parent.name}/{run.folder.name}",
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES[format]}},
        "model": type(network).__name__,
        "data": type(predictor.datamodule).__name__,
        "inputs": _describe_inputs(example),
        "outputs": [_describe_tensor(name, value) for name, value in outputs.items()],
        "reading": predictor.datamodule.describe_inputs(),
        "class_names": predictor.classes,
        **{name: _plain(getattr(network, name, None)) for name in ("target_names", "channel_names", "multilabel")},
        # The temperature is part of the graph. Thresholds and quantiles are for the reader of its outputs.
        "calibration": read_json(calibration) if calibration is not None and calibration.exists() else None,
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
    return list(value) if isinstance(value, (list, tuple)) else value
