"""Read a 16-bit WAV file with the sample rate of training. Convert other files first."""

import wave
from collections.abc import Iterator
from typing import Any

import numpy as np


def read(path: str, about: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of the recording and its samples, the mean of the channels, `(samples,)`."""
    rate = about["reading"]["sample_rate"]
    with wave.open(path) as file:
        if (file.getframerate(), file.getsampwidth()) != (rate, 2):
            raise SystemExit(f"{path}: expected a 16-bit WAV file with {rate} samples per second")
        channels = file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels)
    yield path, np.rint(samples.mean(1)).astype(np.int16)
