"""Sound: recordings in memory as int16, and their log-mel spectra, computed for a whole batch on its device."""

import math
import wave
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litnets.data.augment import random_stretches
from litnets.data.batches import RaggedDataset, smallest_type
from litnets.data.datamodule import ArrayDataModule, check_new_shape
from litnets.data.folders import BrokenFileError, ClassFolders, check_classes, names_in, new_files, read_all
from litnets.errors import InputError

SUFFIXES = frozenset({".wav", ".flac"})

Batch = tuple[tuple[Tensor, Tensor], Tensor]


class LogMel:
    """Logarithm of the power in bands of the mel scale, in windows of a recording that overlap.

    Frame t is centred on sample `t * hop`, with zeros outside the recording, so that a recording of n samples has
    `1 + n // hop` frames and what lies behind its end in a batch does not matter. The bands are triangles on the scale
    mel(f) = 2595 log10(1 + f / 700) (the HTK Book, section 5.4.6), their corners evenly spread from zero to half the
    sample rate, each as high as 1. Their height is of no importance: after the logarithm it is an offset, which
    normalisation takes away.

    Args:
        sample_rate: Samples in a second.
        n_mels: Bands.
        window: Length of the (Hann) window in seconds; the transform's length is the next power of two.
        hop: Seconds from one frame to the next.

    Raises:
        InputError: Lengths that are no sample long, or so many bands that one of them has no frequency in it.
    """

    # Added to the power (1 is that of a wave of full scale in a band), so that digital silence has a logarithm. It
    # lies near the rounding noise of 16 bits: (1/32768)^2 / 12 a sample, times about 100 samples in a window.
    FLOOR = 1e-8

    def __init__(self, sample_rate: int, n_mels: int, window: float = 0.025, hop: float = 0.01) -> None:
        self.window, self.hop = round(window * sample_rate), round(hop * sample_rate)
        if self.window < 2 or self.hop < 1:
            raise InputError(f"window {window} s, hop {hop} s: too short for {sample_rate} samples in a second")
        self.n_fft = 2 ** math.ceil(math.log2(self.window))
        self.filters = mel_filters(sample_rate, self.n_fft, n_mels)
        self.shape = torch.hann_window(self.window)

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """int16 waveforms `(N, samples)`, zero behind their `lengths` `(N,)` -> `(N, frames, n_mels)`, and lengths in
        frames; what lies behind the end is of no meaning."""
        self.filters, self.shape = self.filters.to(waveforms.device), self.shape.to(waveforms.device)
        spectrum = torch.stft(
            waveforms.float() / 32768,
            self.n_fft,
            self.hop,
            self.window,
            self.shape,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real**2 + spectrum.imag**2  # (N, n_fft / 2 + 1, frames)
        return (self.filters @ power + self.FLOOR).log().transpose(1, 2), 1 + lengths // self.hop


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles on the mel scale, `(n_mels, n_fft // 2 + 1)`; see `LogMel`.

    Raises:
        InputError: A band without a frequency of the transform in it.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    low, centre, high = (corners[i : i + n_mels].unsqueeze(1) for i in range(3))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    filters = torch.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)).clamp(min=0)
    if not filters.any(1).all():
        raise InputError(
            f"n_mels: {n_mels} bands are too many for windows of {n_fft} samples at {sample_rate} Hz: one of them has "
            "no frequency in it; take fewer, or a longer window"
        )
    return filters.float()


class AudioDataModule(ArrayDataModule):
    """Recordings in memory as int16 samples; a batch becomes log-mel spectra on the device, each band normalised by
    its mean and standard deviation over the training split.

    Args:
        sample_rate: Samples in a second, to which recordings are resampled.
        n_mels: Bands of the mel scale: the features of a step.
        window: Length of a window in seconds.
        hop: Seconds from one window to the next.
        equal_loudness: Bring each recording to the same mean power first, so that how near the microphone was does not
            matter.
        time_mask: Largest share of a recording's frames that training hides in one stretch, in [0, 1] (Park et al.
            2019). What is hidden is 0, the mean.
        frequency_mask: Largest number of neighbouring bands that training hides.
        batch_size: Recordings in a training batch, on each device.
        eval_batch_size: Recordings in a batch where nothing is learnt.
        skip_broken: Leave out recordings that cannot be read, and say which, instead of stopping.
        predict_path: New recordings for `predict`, WAV or FLAC: a folder of them, at any depth, or a single one; no
            classes are needed, and the files of the training are not read then.
        **loading: Further arguments of `ArrayDataModule`.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 40,
        window: float = 0.025,
        hop: float = 0.01,
        equal_loudness: bool = True,
        time_mask: float = 0.0,
        frequency_mask: int = 0,
        batch_size: int = 64,
        eval_batch_size: int = 128,
        skip_broken: bool = False,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, **loading)
        for name, size in (("sample_rate", sample_rate), ("n_mels", n_mels)):
            if size < 1:
                raise InputError(f"{name}: expected at least 1, got {size}")
        if not 0 <= time_mask <= 1:
            raise InputError(f"time_mask: expected a share in [0, 1], got {time_mask}")
        if not 0 <= frequency_mask <= n_mels:
            raise InputError(f"frequency_mask: expected a number from 0 to the {n_mels} bands, got {frequency_mask}")
        self.time_mask, self.frequency_mask = time_mask, frequency_mask
        self.sample_rate, self.equal_loudness = sample_rate, equal_loudness
        self.log_mel = LogMel(sample_rate, n_mels, window, hop)
        self.input_shape = (None, n_mels)
        self.skip_broken = skip_broken
        self.predict_path = None if predict_path is None else Path(predict_path)
        self.mean: list[float] = []
        self.std: list[float] = []

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.splits and not self.mean:
            self.mean, self.std = self._statistics()

    def load_new(self, path: Path) -> RaggedDataset:
        if not self.mean:  # no checkpoint
            self.be_ready()
        files = new_files(path, SUFFIXES, "recording")
        waveforms, broken = self.read_files(files)
        found = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in found.tolist()])
        return ragged_splits(waveforms, torch.zeros(len(files), dtype=torch.long), {"new": found})["new"]

    def read_files(self, files: list[Path]) -> tuple[list[Tensor | None], Tensor]:
        return read_all(files, lambda i: read_audio(files[i], self.sample_rate), self.skip_broken, "recording")

    def state_dict(self) -> dict[str, Any]:
        """The statistics, so that a checkpoint's network sees inputs as it saw them in training."""
        return {"mean": self.mean, "std": self.std, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_new_shape(self, state_dict)
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """int16 waveforms `(N, samples)` and lengths -> log-mel `(N, frames, n_mels)`, not normalised, and lengths in
        frames."""
        loud, frames = self.log_mel(waveforms, lengths)
        if self.equal_loudness:
            power = (waveforms.float() / 32768).square().sum(1) / lengths
            loud = loud - power.clamp(min=LogMel.FLOOR).log().view(-1, 1, 1)
        return loud, frames

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        (waveforms, lengths), targets = batch
        features, frames = self.features(waveforms, lengths)
        mean, std = (torch.tensor(values, device=features.device) for values in (self.mean, self.std))
        inside = torch.arange(features.shape[1], device=features.device) < frames.unsqueeze(1)  # (N, T)
        kept = inside.unsqueeze(2)
        if self.trainer is not None and self.trainer.training and (self.time_mask or self.frequency_mask):
            kept = kept & ~self._hidden(frames, *features.shape[1:])
        return (torch.where(kept, (features - mean) / std, 0.0), frames), targets.long()

    def _hidden(self, frames: Tensor, most: int, bands: int) -> Tensor:
        """A flag for each value that this training batch does not see, `(N, most, bands)`."""
        time = random_stretches(frames, (self.time_mask * frames).long(), most)
        every = torch.full_like(frames, bands)
        frequency = random_stretches(every, torch.full_like(frames, self.frequency_mask), bands)
        return time.unsqueeze(2) | frequency.unsqueeze(1)

    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band over all frames of the training split. A band that is constant
        gets the standard deviation 1, so that it becomes zero and not infinite."""
        train = self.splits["train"]
        assert isinstance(train, RaggedDataset)
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for chosen in train.split_lengths.argsort().split(self.eval_batch_size):  # of like length: little padding
            inputs, _ = train[chosen]
            features, frames = self.features(*inputs)
            valid = features[torch.arange(features.shape[1]) < frames.unsqueeze(1)].double()  # (frames of all, n_mels)
            count, total, squares = count + len(valid), total + valid.sum(0), squares + valid.square().sum(0)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.tolist(), torch.where(std > 1e-6, std, 1.0).tolist()


class AudioFolder(AudioDataModule):
    """Your own recordings, WAV or FLAC, in a folder for each class: `root/class/*.wav`, which is split, or
    `root/{train,val,test}/class/*.wav`, where val and test are cut from train if they are not there.

    All are read once, their channels averaged, resampled and kept in memory. WAV of 16 bits needs nothing else; any
    other kind, and FLAC, needs soundfile: `pip install -e '.[audio]'`.

    Args:
        root: The folder.
        val_size: Validation split, a share or a number of recordings.
        test_size: Test split, a share or a number of recordings.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds; the test split is then the fold, or if there is a folder
            `test`, the validation split.
        fold: The fold that is held out, from 0.
        **audio: Arguments of `AudioDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        val_size: float = 0.2,
        test_size: float = 0.2,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int = 0,
        **audio: Any,
    ) -> None:
        super().__init__(**audio)
        self.split = (val_size, test_size, split_seed, num_folds, fold)
        self.root = Path(root)

    @cached_property
    def folders(self) -> ClassFolders:
        """What is there to learn from."""
        return ClassFolders.listed(self.root, SUFFIXES, "recording")

    @property
    def class_names(self) -> list[str]:
        return self.folders.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, RaggedDataset]:
        folders = self.folders
        splits = folders.split(*self.split)
        waveforms, broken = self.read_files(folders.files)
        return ragged_splits(waveforms, folders.targets, folders.without(broken, splits))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        super().load_state_dict(state_dict)


def ragged_splits(
    waveforms: list[Tensor | None], targets: Tensor, splits: dict[str, Tensor]
) -> dict[str, RaggedDataset]:
    """Splits of recordings, one behind the other; one that is None has no samples and is in no split."""
    present = [torch.zeros(0, dtype=torch.int16) if waveform is None else waveform for waveform in waveforms]
    lengths = torch.tensor([len(waveform) for waveform in present])
    values, targets = torch.cat(present), targets.to(smallest_type(int(targets.max()) + 1))
    return {name: RaggedDataset(values, lengths, targets, indices) for name, indices in splits.items()}


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
