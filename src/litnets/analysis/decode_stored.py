"""Decode the inputs in a run's inputs.parquet into the form that the DataModule reads."""

import io
import json
import wave
from typing import Any

import numpy as np

from litnets.data.core.base import ArrayDataModule
from litnets.errors import InputError
from litnets.runs.stored_inputs import StoredInput, open_image


def decode_stored(stored: StoredInput, datamodule: ArrayDataModule) -> Any:
    """Return a stored input in the form that `read_inputs` takes.

    Raises:
        InputError: It is damaged.
    """
    try:
        return _decode(stored, datamodule)
    except Exception as error:  # decoders raise errors of many kinds
        reason = str(error) or type(error).__name__
        raise InputError(f"inputs.parquet is damaged ({stored.split} {stored.index}: {reason}); delete it") from error


def _decode(stored: StoredInput, datamodule: ArrayDataModule) -> Any:
    content = stored.content
    if stored.kind == "text":
        return content.decode()
    if stored.kind == "row":
        cells = json.loads(content)
        return cells if datamodule.feature_groups() else np.array([list(cells.values())], np.float32)
    if stored.kind == "image":
        return open_image(content)
    if stored.kind == "audio":
        with wave.open(io.BytesIO(content)) as recording:
            return np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    series = np.load(io.BytesIO(content), allow_pickle=False)
    steps = datamodule.input_shape[0]  # of a forecast, the steps that follow the window are the truth
    return series if steps is None else series[:steps]
