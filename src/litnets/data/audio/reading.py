"""Read recordings: WAV and FLAC to int16 samples."""

import math
import wave
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError
from litnets.errors import InputError

SUFFIXES = frozenset({".wav", ".flac"})


def read_audio(path: Path, sample_rate: int) -> Tensor:
    """A recording as int16 samples `(samples,)` at `sample_rate`, the mean of its channels.

    Raises:
        BrokenFileError: It cannot be decoded, is shorter than its header says, or has no samples.
        InputError: It is of a kind that needs soundfile, which is not installed.
    """
    decoded = _read_wav(path) if path.suffix.lower() == ".wav" else None
    samples, rate = _read_any(path) if decoded is None else decoded  # (samples, channels), in [-1, 1)
    if not len(samples):
        raise BrokenFileError("no samples in it")
    mono = samples.mean(1)
    if not np.isfinite(mono).all():
        raise BrokenFileError(f"sample {int((~np.isfinite(mono)).argmax())} is not a number")
    if rate != sample_rate:
        from scipy.signal import resample_poly  # here, so that only those who use it pay for the import

        common = math.gcd(rate, sample_rate)
        mono = resample_poly(mono, sample_rate // common, rate // common)
    return torch.from_numpy(np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16))


def _read_wav(path: Path) -> tuple[NDArray[np.float64], int] | None:
    """A WAV file of 16 bits by the standard library; None if it is of another kind, or none that it can read."""
    try:
        with wave.open(str(path)) as file:
            channels, width, rate, length = file.getparams()[:4]
            if width != 2:
                return None
            content = file.readframes(length)
    except (wave.Error, EOFError):
        return None
    except OSError as error:
        raise BrokenFileError(error.strerror or str(error)) from error
    if len(content) != length * channels * width:
        raise BrokenFileError(f"cut off: {len(content) // (channels * width)} of {length} samples are there")
    return np.frombuffer(content, "<i2").reshape(-1, channels) / 32768, rate


def _read_any(path: Path) -> tuple[NDArray[np.float64], int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, but not the library that it calls
        raise InputError(
            f"{path} is no WAV file of 16 bits, and other kinds need soundfile: pip install -e '.[audio]' ({error})"
        ) from error
    try:
        samples, rate = soundfile.read(path, always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise BrokenFileError(str(getattr(error, "error_string", error))) from error
    return samples, rate
