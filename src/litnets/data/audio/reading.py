"""Read WAV and FLAC files as int16 samples."""

import io
import math
import struct
import wave
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.core.class_folders import BrokenFileError, read_content
from litnets.errors import InputError

SUFFIXES = frozenset({".wav", ".flac"})

# Limits for malicious files. FLAC compresses silence a thousandfold, but recordings less than tenfold.
MAX_RATE = 1_000_000  # Hz
MAX_UPSAMPLING = 16
MIN_DECODED = 2**24  # samples over all channels that a file of any size may have
MAX_RATIO = 64  # samples per byte that a larger file may have
MIN_UNKNOWN_SIZE = 0x7FFF0000  # sizes in the header of a streamed WAV file: SoX writes 0x7FFFF000, FFmpeg 0xFFFFFFFF
_BLOCK = 2**20  # samples to decode at once


def read_audio(path: Path, sample_rate: int) -> Tensor:
    """Read a recording from a file; see `decode_audio`."""
    return decode_audio(path, read_content(path), sample_rate)[0]


def decode_audio(path: Path, content: bytes, sample_rate: int) -> tuple[Tensor, float]:
    """Decode a recording to mono int16 samples `(samples,)`.

    Float samples can exceed full scale, 1. Such a recording is scaled down to full scale instead of clipped.

    Args:
        path: The file. Its suffix determines the format.
        content: The content of the file.
        sample_rate: Sample rate that the recording is resampled to, in Hz.

    Returns:
        The samples, and their largest absolute value before scaling; 1 is full scale.

    Raises:
        BrokenFileError: The recording cannot be decoded, is truncated, or has no samples.
        InputError: The format needs soundfile, which is not installed.
    """
    file = io.BytesIO(_with_length(content))
    decoded = _read_wav(file) if path.suffix.lower() == ".wav" else None
    if decoded is None:
        file.seek(0)
        decoded = _read_any(path, file)
    mono, rate = decoded
    if not len(mono):
        raise BrokenFileError("it has no samples")
    # The memory for resampling grows with the ratio of the sample rates, even for a short file.
    if not sample_rate / MAX_UPSAMPLING <= rate <= MAX_RATE:
        raise BrokenFileError(
            f"a sample rate of {rate} Hz; expected {math.ceil(sample_rate / MAX_UPSAMPLING)} to {MAX_RATE:,} Hz for "
            f"--data.sample_rate {sample_rate}"
        )
    if not np.isfinite(mono).all():
        raise BrokenFileError(f"sample {int((~np.isfinite(mono)).argmax())} is not a number")
    peak = max(float(mono.max()), -float(mono.min()))
    if rate != sample_rate:
        from scipy.signal import resample_poly  # imported here because the import is slow

        common = math.gcd(rate, sample_rate)
        mono = resample_poly(mono, sample_rate // common, rate // common)
    if peak > 1:
        mono = mono / max(peak, np.abs(mono).max())  # resampling may have raised the peak
    return torch.from_numpy(np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)), peak


def _with_length(content: bytes) -> bytes:
    """Return a WAV file with the sizes that its header lacks.

    A program that writes to a pipe does not know the length of the recording yet. It writes a size of 0 or the largest
    possible one, which means that the samples extend to the end of the file.
    """
    position = 12
    while content[:4] == b"RIFF" and position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"data":
            is_complete = struct.unpack_from("<I", content, 4)[0] == len(content) - 8
            if size >= MIN_UNKNOWN_SIZE or (size == 0 and not is_complete):
                header = bytearray(content[:position])
                struct.pack_into("<I", header, position - 4, len(content) - position)
                struct.pack_into("<I", header, 4, len(content) - 8)
                return bytes(header) + content[position:]
            break
        position += size + size % 2  # chunks start at even positions
    return content


def _read_wav(file: io.BytesIO) -> tuple[NDArray[np.float64], int] | None:
    """Read a 16-bit WAV file with the standard library.

    Returns:
        The mean of the channels `(samples,)`, in [-1, 1), and the sample rate in Hz; None if it is another format.
    """
    try:
        with wave.open(file) as recording:
            channels, width, rate, length = recording.getparams()[:4]
            if width != 2:
                return None
            size = channels * width
            content = recording.readframes(min(length, _size(file) // size))  # the header can claim any length
    except (wave.Error, EOFError):
        return None
    if len(content) != length * size:
        raise BrokenFileError(f"truncated: it has {len(content) // size} of {length} samples")
    return (np.frombuffer(content, "<i2").reshape(-1, channels) / 32768).mean(1), rate


def _read_any(path: Path, file: io.BytesIO) -> tuple[NDArray[np.float64], int]:
    """Read a recording in any format with soundfile, in blocks, because the header can claim any length.

    Returns:
        The mean of the channels `(samples,)`, in [-1, 1), and the sample rate in Hz.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is installed, but not the C library
        raise InputError(
            f"{path} is not a 16-bit WAV file, and other formats need soundfile: pip install -e '.[audio]' ({error})"
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
