"""Sound: recordings in memory as int16, and their log-mel spectra, computed for a whole batch on its device."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from xxhash import xxh3_64_intdigest

from litnets.data.audio.log_mel import LogMel
from litnets.data.audio.reading import SUFFIXES, decode_audio
from litnets.data.core.base import ArrayDataModule, check_new_shape
from litnets.data.core.batching import RaggedDataset, length_mask, smallest_type
from litnets.data.core.class_folders import names_in, new_files, read_all, read_content
from litnets.data.core.fingerprint import Digests
from litnets.data.core.scaling import replace_zero_std
from litnets.errors import InputError

Batch = tuple[tuple[Tensor, Tensor], Tensor]


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

    def load_predict(self, path: Path) -> RaggedDataset:
        if not self.mean:  # no checkpoint
            self.ensure_setup()
        files = new_files(path, SUFFIXES, "recording")
        waveforms, broken, _ = self.read_files(files)
        found = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in found.tolist()])
        return ragged_splits(waveforms, torch.zeros(len(files), dtype=torch.long), {"new": found})["new"]

    def read_files(self, files: list[Path]) -> tuple[list[Tensor | None], Tensor, Digests]:
        """Return the recordings, None for those that are broken, a flag for each of these, and the digests of the
        files."""
        digests = np.zeros(len(files), np.uint64)

        def read(index: int) -> Tensor:
            content = read_content(files[index])
            digests[index] = xxh3_64_intdigest(content)
            return decode_audio(files[index], content, self.sample_rate)

        return *read_all(files, read, self.skip_broken, "recording"), digests

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
        kept = length_mask(frames, features.shape[1]).unsqueeze(2)  # (N, T, 1)
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
            valid = features[length_mask(frames, features.shape[1])].double()  # (frames of all, n_mels)
            count, total, squares = count + len(valid), total + valid.sum(0), squares + valid.square().sum(0)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.tolist(), replace_zero_std(std, threshold=1e-6)


def ragged_splits(
    waveforms: list[Tensor | None], targets: Tensor, splits: dict[str, Tensor]
) -> dict[str, RaggedDataset]:
    """Splits of recordings, one behind the other; one that is None has no samples and is in no split."""
    present = [torch.zeros(0, dtype=torch.int16) if waveform is None else waveform for waveform in waveforms]
    lengths = torch.tensor([len(waveform) for waveform in present])
    values, targets = torch.cat(present), targets.to(smallest_type(int(targets.max()) + 1))
    return {name: RaggedDataset(values, lengths, targets, indices) for name, indices in splits.items()}


def random_stretches(sizes: Tensor, longest: Tensor, length: int) -> Tensor:
    """A stretch of 0 to `longest` places of each sample, anywhere among its first `sizes` ones, as a flag for each
    place, `(N, length)`; `sizes` and `longest` are `(N,)` of whole numbers.
    """
    long, start = torch.rand(2, len(sizes), device=sizes.device)
    # Evenly drawn from 0 to the largest one; `minimum` for a product that is rounded up to the one behind.
    extent = torch.minimum((long * (longest + 1)).long(), longest)
    start = torch.minimum((start * (sizes - extent + 1)).long(), sizes - extent)
    places = torch.arange(length, device=sizes.device)
    return (start.unsqueeze(1) <= places) & (places < (start + extent).unsqueeze(1))
