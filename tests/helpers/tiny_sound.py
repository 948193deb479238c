"""Tiny recordings in the real on-disk formats, for tests that read files as a run does."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPEAKERS = ("jackson", "theo")


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = 8000) -> None:
    """Write int16 `(samples,)` or `(samples, channels)` as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def tone(frequency: float, size: int, rate: int = 8000, noise: float = 0.01, seed: int = 0) -> NDArray[np.int16]:
    """Return a sine wave with noise, at a third of full scale."""
    random = np.random.default_rng(seed)
    wave_ = np.sin(2 * np.pi * frequency * np.arange(size) / rate) / 3 + noise * random.standard_normal(size)
    return np.rint(wave_ * 32767).astype(np.int16)


def write_fsdd(folder: Path, speakers: tuple[str, ...] = SPEAKERS, recordings: int = 8) -> None:
    """Write a tiny Free Spoken Digit Dataset, `folder/fsdd/recordings/{digit}_{speaker}_{index}.wav`.

    Recordings are tones of 0.05 to 0.15 s with one frequency per digit; the first speaker is the loudest. Every call
    writes the same bytes.
    """
    for speaker, name in enumerate(speakers):
        for digit in range(10):
            for index in range(recordings):
                size = 400 + (digit * 37 + speaker * 211 + index * 101) % 800
                seed = speaker * 10_000 + digit * 100 + index
                samples = tone(300 + 300 * digit, size, seed=seed) // (1 + 3 * speaker)
                write_wav(folder / "fsdd" / "recordings" / f"{digit}_{name}_{index}.wav", samples)


def write_audio_folder(root: Path, classes: tuple[str, ...] = ("high", "low", "mid"), size: int = 20) -> None:
    """Write `root/class/*.wav` at 8 and 16 kHz, mono and stereo."""
    for number, name in enumerate(classes):
        for index in range(size):
            rate = 8000 if index % 2 else 16000
            samples = tone(400 * (number + 1), rate // 20 + 7 * index, rate, seed=100 * number + index)
            stereo = np.stack([samples, samples // 2], 1)
            write_wav(root / name / f"{index:02}.wav", stereo if index % 3 else samples, rate)
