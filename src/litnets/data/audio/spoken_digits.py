"""Free Spoken Digit Dataset: 3,000 recordings of digits by six speakers."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from litnets.data.audio.base import AudioDataModule, ragged_splits
from litnets.data.core.base import ValSplitDataModule
from litnets.data.core.batching import RaggedDataset
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.listing import is_system_name, regular_files
from litnets.data.core.splits import PARTS, split_indices
from litnets.errors import InputError

SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset"


class SpokenDigits(ValSplitDataModule, AudioDataModule):
    """Spoken digits, 10 classes: the Free Spoken Digit Dataset.

        litnets fit --model RNNClassifier --data SpokenDigits

    Each of six speakers recorded each digit 50 times, at 8 kHz, in 0.14 to 2.3 s. The source is
    github.com/Jakobovski/free-spoken-digit-dataset at commit 26eb9aaf (CC BY-SA 4.0).

    Recordings are read from `data_dir/fsdd/recordings/{digit}_{speaker}_{index}.wav`. They are not downloaded because
    the authors publish no archive with a checksum. The official test split consists of recordings 0 to 4 of each
    speaker and digit, 300 in total. The validation split is taken from the other 2,700, with the same proportions of
    speakers and digits.

    Args:
        data_dir: Folder of the datasets.
        test_speaker: Test on all recordings of this speaker and train on the other five: `george`, `jackson`, `lucas`,
            `nicolas`, `theo` or `yweweler`. Default: test on the first five recordings
            of each digit by each speaker, the official split.
        group_by_speaker: Whether the recordings of a speaker stay in the same fold or in the same of training and
            validation, so that the score is that on new speakers: `litnets cv --folds 6 --data.group_by_speaker true`.
        sample_rate: Sample rate that recordings are resampled to, in Hz; the recordings have 8,000.
        **audio: Arguments of `AudioDataModule`, `ValSplitDataModule` and `ArrayDataModule`.
    """

    num_classes = 10
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]

    def __init__(
        self,
        data_dir: str = "data",
        test_speaker: str | None = None,
        group_by_speaker: bool = False,
        sample_rate: int = 8000,
        **audio: Any,
    ) -> None:
        super().__init__(sample_rate=sample_rate, **audio)
        self.recordings = Path(data_dir) / "fsdd" / "recordings"
        self.test_speaker, self.group_by_speaker = test_speaker, group_by_speaker

    def load(self) -> dict[str, RaggedDataset]:
        recordings = [path for path in self.recordings.glob("*.wav") if not is_system_name(path.name)]
        files = regular_files(sorted(recordings))
        if not files:
            raise InputError(
                f"{self.recordings} has no recordings. Download the folder recordings from {SOURCE}, and set "
                "--data.data_dir to the folder that contains fsdd/recordings/0_george_0.wav ..."
            )
        digits, speakers, indices = zip(*map(_parse_name, files), strict=True)
        speaker_names = sorted(set(speakers))
        if self.test_speaker is not None and self.test_speaker not in speaker_names:
            raise InputError(
                f"test_speaker: expected one of {', '.join(speaker_names)} in {self.recordings}, "
                f"got '{self.test_speaker}'"
            )
        waveforms, broken, contents = self.read_files(files)
        targets = torch.tensor(digits)
        speaker = torch.tensor([speaker_names.index(name) for name in speakers])
        if self.test_speaker is None:
            is_test = torch.tensor(indices) < 5
        else:
            is_test = speaker == speaker_names.index(self.test_speaker)
        test = torch.nonzero(is_test & ~broken).squeeze(1)

        def propose() -> list[Tensor]:
            rest = torch.nonzero(~is_test & ~broken).squeeze(1)
            if self.group_by_speaker:
                train, val, _ = split_indices(None, len(rest), self.split_spec, speaker[rest])
            else:
                strata = (speaker * self.num_classes + targets)[rest]
                train, val, _ = split_indices(strata, len(rest), self.split_spec)
            return [rest[train], rest[val], test]

        samples = Fingerprint.of_files(self.recordings, files, contents)
        fixed = torch.where(is_test, PARTS.index("test"), -1)
        splits = self.assign_splits(samples, propose, fixed, ~broken)
        return ragged_splits(waveforms, targets, splits)


def _parse_name(path: Path) -> tuple[int, str, int]:
    """Return the digit, speaker and index in a file name: `7_jackson_32.wav` -> (7, "jackson", 32)."""
    digit, _, rest = path.stem.partition("_")
    speaker, _, index = rest.rpartition("_")
    if not (digit.isdigit() and int(digit) < 10 and speaker and index.isdigit()):
        raise InputError(f"{path}: expected a name like 7_jackson_32.wav: digit, speaker, index")
    return int(digit), speaker, int(index)
