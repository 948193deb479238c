"""Decode the inputs in a run's inputs.parquet into the form that the DataModule reads."""

import io
import json
import wave
from typing import Any

import numpy as np
from PIL import Image

from litnets.data.core.base import ArrayDataModule
from litnets.runs.stored_inputs import StoredInput


def decode_stored(stored: StoredInput, datamodule: ArrayDataModule) -> Any:
    """Return a stored input in the form that `read_inputs` takes."""
    content = stored.content
    if stored.kind == "text":
        return content.decode()
    if stored.kind == "row":
        cells = json.loads(content)
        return cells if datamodule.feature_groups() else np.array([list(cells.values())], np.float32)
    if stored.kind == "image":
        return Image.open(io.BytesIO(content))
    if stored.kind == "audio":
        with wave.open(io.BytesIO(content)) as recording:
            return np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    series = np.load(io.BytesIO(content), allow_pickle=False)
    steps = datamodule.input_shape[0]  # of a forecast, the steps that follow the window are the truth
    return series if steps is None else series[:steps]
