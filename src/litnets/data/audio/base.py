"""Base class of the audio DataModules: int16 recordings in memory, log-mel spectrograms computed on the device."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from xxhash import xxh3_64_intdigest

from litnets.data.audio.log_mel import LogMel
from litnets.data.audio.reading import SUFFIXES, decode_audio
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import RaggedDataset, length_mask, smallest_type
from litnets.data.core.class_folders import read_all, read_content
from litnets.data.core.data_card import SliceValues, describe_numbers
from litnets.data.core.fingerprint import Digests
from litnets.data.core.inputs import as_array, as_items, as_paths
from litnets.data.core.listing import names_in, new_files
from litnets.data.core.new_samples import check_new_shape
from litnets.data.core.raw_inputs import to_wav
from litnets.data.core.scaling import Standardize, replace_zero_std
from litnets.errors import InputError, abbreviate
from litnets.safety.escaping import printable

Batch = tuple[tuple[Tensor, Tensor], Tensor]


class AudioFeatures(nn.Module):
    """Convert recordings to normalized log-mel spectrograms.

    Args:
        log_mel: The spectrogram.
        equal_loudness: Normalize each recording to the same mean power.
        scale: The scaling of each band.
    """

    def __init__(self, log_mel: LogMel, equal_loudness: bool, scale: Standardize) -> None:
        super().__init__()
        self.log_mel, self.equal_loudness, self.scale = log_mel, equal_loudness, scale

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-mel spectrograms, before normalization by the statistics.

        Args:
            waveforms: int16 samples, `(N, samples)`, zero in the padding.
            lengths: Number of samples of each recording, `(N,)`.

        Returns:
            The spectrograms `(N, frames, n_mels)`, and the number of frames of each recording, `(N,)`.
        """
        log_mel, frames = self.log_mel(waveforms, lengths)
        if self.equal_loudness:
            power = (waveforms.float() / 32768).square().sum(1) / lengths
            log_mel = log_mel - power.clamp(min=LogMel.FLOOR).log().view(-1, 1, 1)
        return log_mel, frames

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return spectrograms `(N, frames, n_mels)`, zero in the padding, and the frames of each recording, `(N,)`."""
        features, frames = self.features(*inputs)
        mask = length_mask(frames, features.shape[1]).unsqueeze(2)  # (N, T, 1)
        return torch.where(mask, self.scale(features), 0.0), frames


class AudioDataModule(ArrayDataModule):
    """Base class for audio recordings, kept in memory as int16 samples.

    A batch is converted to log-mel spectrograms on the device. Each mel band is normalized by its mean and standard
    deviation on the training split.

    Args:
        sample_rate: Sample rate that recordings are resampled to, in Hz.
        n_mels: Number of mel bands, which are the features of a step.
        window: Length of a window, in seconds.
        hop: Time between consecutive windows, in seconds.
        equal_loudness: Normalize each recording to the same mean power, so that the distance to the microphone does not
            matter.
        time_mask: Largest fraction of the frames of a recording to mask during training, in [0, 1], as one block
            (SpecAugment, Park et al. 2019). Masked values are 0, the mean.
        frequency_mask: Largest number of adjacent mel bands to mask during training.
        batch_size: Recordings in a training batch, on each device.
        eval_batch_size: Batch size for validation, test and prediction.
        skip_broken: Skip and report recordings that cannot be read, instead of raising an error.
        predict_path: New WAV or FLAC recordings for `predict`: a file, or a folder, which is searched recursively. No
            classes are needed, and the training files are not read. Default: the test split.
        **loading: Further arguments of `ArrayDataModule`.

    Raises:
        InputError: An argument is out of range.
    """

    input_kind = "audio"

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
            raise InputError(f"time_mask: expected a fraction in [0, 1], got {time_mask}")
        if not 0 <= frequency_mask <= n_mels:
            raise InputError(f"frequency_mask: expected 0 to {n_mels} bands (n_mels), got {frequency_mask}")
        self.sample_rate = sample_rate
        self.equal_loudness = equal_loudness
        self.time_mask = time_mask
        self.frequency_mask = frequency_mask
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

    new_suffixes, new_kind = SUFFIXES, "recording"

    def load_predict(self, path: Path) -> RaggedDataset:
        if not self.mean:  # no checkpoint
            self.ensure_setup()
        files = new_files(path, SUFFIXES, "recording")
        waveforms, broken, _ = self.read_files(files)
        readable = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in readable.tolist()])
        return ragged_splits(waveforms, torch.zeros(len(files), dtype=torch.long), {"new": readable})["new"]

    def read_inputs(self, inputs: Any) -> RaggedDataset:
        """Return new recordings from files, folders, or mono arrays at the sample rate of training.

        An array holds int16 samples or floats in [-1, 1], `(samples,)`, or `(N, samples)` for several recordings.
        """
        if (files := self.list_files(inputs)) is not None:
            waveforms = self._waveforms_in(files)
        else:
            waveforms = [waveform for item in as_items(inputs) for waveform in self._to_waveforms(item)]
        return ragged_splits([*waveforms], torch.zeros(len(waveforms)), {"new": torch.arange(len(waveforms))})["new"]

    def list_files(self, inputs: Any) -> list[Path] | None:
        paths = as_paths(as_items(inputs))
        return None if paths is None else [file for path in paths for file in new_files(path, SUFFIXES, "recording")]

    def describe_reading(self) -> dict[str, Any]:
        """Return the sample rate of the int16 samples."""
        return {"kind": "audio", "sample_rate": self.sample_rate}

    def _to_waveforms(self, item: Any) -> list[Tensor]:
        """Return the recordings of an item, each int16 `(samples,)`."""
        if (files := self.list_files(item)) is not None:
            return self._waveforms_in(files)
        array = as_array(item, "a recording: a file, or an array of int16 samples or of floats in [-1, 1]")
        if array.ndim not in (1, 2):
            raise InputError(
                f"expected mono recordings of shape (samples,) or (N, samples), got an array of shape {array.shape}"
            )
        if array.dtype.kind == "f":
            if not (np.abs(array) <= 1).all():
                raise InputError("expected samples in [-1, 1] in an array of floats; divide int16 samples by 32768")
            array = np.clip(np.rint(array * 32768), -32768, 32767)
        elif array.dtype != np.int16:
            raise InputError(f"expected int16 samples or floats in [-1, 1], got {array.dtype}")
        return list(torch.from_numpy(np.atleast_2d(array).astype(np.int16)))

    def _waveforms_in(self, files: list[Path]) -> list[Tensor]:
        return [waveform for waveform in self.read_files(files)[0] if waveform is not None]

    def read_files(self, files: list[Path]) -> tuple[list[Tensor | None], Tensor, Digests]:
        """Read recordings. Report those that are silent or exceed full scale.

        Returns:
            The int16 samples of each file, None for a broken file; the mask of the broken files, `(files,)`; and the
            digest of each file.
        """
        digests = np.zeros(len(files), np.uint64)
        peaks = np.ones(len(files))

        def read(index: int) -> Tensor:
            content = read_content(files[index])
            digests[index] = xxh3_64_intdigest(content)
            waveform, peaks[index] = decode_audio(files[index], content, self.sample_rate)
            return waveform

        waveforms, broken = read_all(files, read, self.skip_broken, "recording")
        for problem, which in (("exceed full scale and are scaled down to it", peaks > 1), ("are silent", peaks == 0)):
            if count := int(which.sum()):
                shown = [f"{files[i]}: {peaks[i]:.5g}" for i in which.nonzero()[0].tolist()]
                print(f"{count} of {len(files)} recordings {problem} ({printable(abbreviate(shown, 3))})", flush=True)
        return waveforms, broken, digests

    def raw_input(self, part: str, position: int) -> dict[str, bytes]:
        return {"audio": to_wav(self._read_input(part, position), self.sample_rate)}

    def describe_inputs(self, part: str) -> dict[str, Any]:
        return {"seconds": describe_numbers(self._seconds(part))}

    def slice_values(self, part: str, positions: Tensor) -> SliceValues:
        """Return the length of each recording, in seconds."""
        return {"length": self._seconds(part)[positions].tolist()}

    def _seconds(self, part: str) -> Tensor:
        """Return the length of each recording of a split, `(recordings,)`."""
        split = self.splits[part]
        assert isinstance(split, RaggedDataset)
        return split.split_lengths.double() / self.sample_rate

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics, so that a checkpoint normalizes inputs as in training."""
        return {"mean": self.mean, "std": self.std, "input_shape": list(self.input_shape)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        check_new_shape(self, state_dict)
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-mel spectrograms, before normalization; see `AudioFeatures.features`."""
        return self.preparation().to(waveforms.device).features(waveforms, lengths)

    def preparation(self) -> AudioFeatures:
        log_mel = deepcopy(self.log_mel)  # moving the result to a device must not move the spectrogram of this object
        return AudioFeatures(log_mel, self.equal_loudness, Standardize(self.mean, self.std))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        inputs, targets = batch
        features, frames = self.prepare(inputs)
        if self.trainer is not None and self.trainer.training and (self.time_mask or self.frequency_mask):
            features = features.masked_fill(self._spec_augment_mask(frames, *features.shape[1:]), 0.0)
        return (features, frames), targets.long()

    def _spec_augment_mask(self, frames: Tensor, num_frames: int, num_bands: int) -> Tensor:
        """Return the mask of the values to hide in this training batch, `(N, num_frames, num_bands)`."""
        time = random_blocks(frames, (self.time_mask * frames).long(), num_frames)
        bands = torch.full_like(frames, num_bands)
        frequency = random_blocks(bands, torch.full_like(frames, self.frequency_mask), num_bands)
        return time.unsqueeze(2) | frequency.unsqueeze(1)

    def _statistics(self) -> tuple[list[float], list[float]]:
        """Return the mean and standard deviation of each band over all frames of the training split.

        The standard deviation of a constant band is 1, so that normalization makes it 0.
        """
        train = self.splits["train"]
        assert isinstance(train, RaggedDataset)
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for indices in train.split_lengths.argsort().split(self.eval_batch_size):  # similar lengths need little padding
            inputs, _ = train[indices]
            features, frames = self.features(*inputs)
            valid = features[length_mask(frames, features.shape[1])].double()  # (total frames, n_mels)
            count, total, squares = count + len(valid), total + valid.sum(0), squares + valid.square().sum(0)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.tolist(), replace_zero_std(std, threshold=1e-6)


def ragged_splits(
    waveforms: list[Tensor | None], targets: Tensor, splits: dict[str, Tensor]
) -> dict[str, RaggedDataset]:
    """Return the splits of some recordings.

    Args:
        waveforms: Samples of each recording, None for a broken recording, which must not be in any split.
        targets: Class of each recording, `(recordings,)`.
        splits: Indices of the recordings in each split.
    """
    readable = [torch.zeros(0, dtype=torch.int16) if waveform is None else waveform for waveform in waveforms]
    lengths = torch.tensor([len(waveform) for waveform in readable])
    values, targets = torch.cat(readable), targets.to(smallest_type(int(targets.max()) + 1))
    return {name: RaggedDataset(values, lengths, targets, indices) for name, indices in splits.items()}


def random_blocks(sizes: Tensor, max_lengths: Tensor, num_positions: int) -> Tensor:
    """Sample a block of consecutive positions for each row, with uniform length and start.

    Args:
        sizes: Number of positions of each row that a block can cover, `(N,)`.
        max_lengths: Largest length of the block of each row, `(N,)`; the smallest is 0.
        num_positions: Number of positions, including padding.

    Returns:
        A mask of the positions in the blocks, `(N, num_positions)`.
    """
    length, start = torch.rand(2, len(sizes), device=sizes.device)
    # `minimum`, because a product just below the upper bound can be rounded up to it.
    lengths = torch.minimum((length * (max_lengths + 1)).long(), max_lengths)
    starts = torch.minimum((start * (sizes - lengths + 1)).long(), sizes - lengths)
    positions = torch.arange(num_positions, device=sizes.device)
    return (starts.unsqueeze(1) <= positions) & (positions < (starts + lengths).unsqueeze(1))
