"""The inputs in a run's inputs.parquet as raw inputs of its network."""

import io
import json
import wave
from typing import Any

import numpy as np
from PIL import Image

from litnets.analysis.predictor import Predictor
from litnets.data.core.new_samples import Split
from litnets.runs.stored_inputs import StoredInput, load_inputs


def read_stored(predictor: Predictor) -> Split | None:
    """Return the recorded inputs of a run; None if it has none."""
    run = predictor.run
    if run is None or not run.inputs.exists():
        return None
    stored = [one for one in load_inputs(run.inputs) if one.kind not in ("mask", "predicted_mask")]
    steps = predictor.datamodule.describe_reading().get("look_back")
    return predictor.datamodule.read_inputs([_decode(one, steps) for one in stored]) if stored else None


def _decode(stored: StoredInput, look_back: int | None) -> Any:
    """Return an input as `read_inputs` takes it."""
    if stored.kind == "image":
        return Image.open(io.BytesIO(stored.content))
    if stored.kind == "text":
        return stored.content.decode()
    if stored.kind == "audio":
        with wave.open(io.BytesIO(stored.content)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), np.int16)
    if stored.kind == "series":
        return np.load(io.BytesIO(stored.content), allow_pickle=False)[:look_back]
    return json.loads(stored.content)
