"""Read recordings: WAV and FLAC to int16 samples."""

import io
import math
import wave
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError, read_content
from litnets.errors import InputError

SUFFIXES = frozenset({".wav", ".flac"})

# Bounds for what a few bytes may claim. FLAC packs silence thousands of times, but recordings less than ten times.
MAX_RATE = 1_000_000  # samples in a second
MAX_UPSAMPLING = 16
MIN_DECODED = 2**24  # samples of all channels that any file may have
MAX_RATIO = 64  # of them for each byte of a larger one
_BLOCK = 2**20


def read_audio(path: Path, sample_rate: int) -> Tensor:
    """Read a recording from a file; see `decode_audio`."""
    return decode_audio(path, read_content(path), sample_rate)


def decode_audio(path: Path, content: bytes, sample_rate: int) -> Tensor:
    """A recording as int16 samples `(samples,)` at `sample_rate`, the mean of its channels.

    Args:
        path: The file, whose suffix says what it is.
        content: All of it.
        sample_rate: Samples in a second.

    Raises:
        BrokenFileError: It cannot be decoded, is shorter than its header says, or has no samples.
        InputError: It is of a kind that needs soundfile, which is not installed.
    """
    file = io.BytesIO(content)
    decoded = _read_wav(file) if path.suffix.lower() == ".wav" else None
    if decoded is None:
        file.seek(0)
        decoded = _read_any(path, file)
    mono, rate = decoded
    if not len(mono):
        raise BrokenFileError("no samples in it")
    # Resampling takes memory in proportion to the ratio of the rates, whatever the length of the file.
    if not sample_rate / MAX_UPSAMPLING <= rate <= MAX_RATE:
        raise BrokenFileError(
            f"{rate} samples in a second; expected {math.ceil(sample_rate / MAX_UPSAMPLING)} to {MAX_RATE:,} where "
            f"--data.sample_rate is {sample_rate}"
        )
    if not np.isfinite(mono).all():
        raise BrokenFileError(f"sample {int((~np.isfinite(mono)).argmax())} is not a number")
    if rate != sample_rate:
        from scipy.signal import resample_poly  # here, so that only those who use it pay for the import

        common = math.gcd(rate, sample_rate)
        mono = resample_poly(mono, sample_rate // common, rate // common)
    return torch.from_numpy(np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16))


def _read_wav(file: io.BytesIO) -> tuple[NDArray[np.float64], int] | None:
    """Read a WAV file of 16 bits with the standard library; None if it is of another kind, or cannot be read so.

    Returns:
        The mean of its channels `(samples,)`, in [-1, 1), and its sample rate.
    """
    try:
        with wave.open(file) as recording:
            channels, width, rate, length = recording.getparams()[:4]
            if width != 2:
                return None
            size = channels * width
            content = recording.readframes(min(length, _size(file) // size))  # the header may claim any length
    except (wave.Error, EOFError):
        return None
    if len(content) != length * size:
        raise BrokenFileError(f"cut off: {len(content) // size} of {length} samples are there")
    return (np.frombuffer(content, "<i2").reshape(-1, channels) / 32768).mean(1), rate


def _read_any(path: Path, file: io.BytesIO) -> tuple[NDArray[np.float64], int]:
    """Read a recording of any kind with soundfile, in blocks, whatever length its header claims.

    Returns:
        The mean of its channels `(samples,)`, in [-1, 1), and its sample rate.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, but not the library that it calls
        raise InputError(
            f"{path} is no WAV file of 16 bits, and other kinds need soundfile: pip install -e '.[audio]' ({error})"
        ) from error
    try:
        with soundfile.SoundFile(file) as recording:
            limit = max(MIN_DECODED, MAX_RATIO * _size(file))
            blocks: list[NDArray[np.float64]] = []
            length = 0
            while len(block := recording.read(_BLOCK // recording.channels, always_2d=True)):
                length += len(block)
                if length * recording.channels > limit:
                    raise BrokenFileError(f"more than {limit:,} samples in {_size(file):,} bytes")
                blocks.append(block.mean(1))
            return np.concatenate(blocks or [np.zeros(0)]), recording.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise BrokenFileError(str(getattr(error, "error_string", error))) from error


def _size(file: io.BytesIO) -> int:
    return len(file.getbuffer())
