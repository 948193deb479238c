"""AudioFolder: your recordings, in one folder per class."""

from functools import cached_property
from pathlib import Path
from typing import Any

from litnets.data.audio.base import AudioDataModule, ragged_splits
from litnets.data.audio.reading import SUFFIXES
from litnets.data.core.base import SplitDataModule
from litnets.data.core.batching import RaggedDataset
from litnets.data.core.class_folders import ClassFolders, check_classes


class AudioFolder(SplitDataModule, AudioDataModule):
    """Your WAV or FLAC recordings, in one folder per class.

        litnets fit --model RNNClassifier --data AudioFolder --data.root commands

    Recordings in `root/class/*.wav` are split into training, validation and test. Alternatively, the splits are the
    folders `root/{train,val,test}/class/*.wav`; if val or test does not exist, the split is taken from train.

    All recordings are read once, converted to mono, resampled and kept in memory. FLAC files, and WAV files with other
    than 16 bits, require soundfile: `pip install -e '.[audio]'`.

    Args:
        root: Folder of the recordings.
        **audio: Arguments of `AudioDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self,
        root: str,
        **audio: Any,
    ) -> None:
        super().__init__(**audio)
        self.root = Path(root)

    @cached_property
    def folders(self) -> ClassFolders:
        """The files in `root`, listed on first use."""
        return ClassFolders.scan(self.root, SUFFIXES, "recording")

    @property
    def class_names(self) -> list[str]:
        return self.folders.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    def load(self) -> dict[str, RaggedDataset]:
        folders = self.folders
        if self.recorded_split is None:
            folders.split(self.split_spec)  # raises an error for invalid sizes before all files are read
        waveforms, broken, contents = self.read_files(folders.files)
        splits = self.assign_splits(
            folders.fingerprint(contents),
            lambda: folders.split(self.split_spec),
            folders.fixed_splits(self.split_spec),
            ~broken,
        )
        folders.check_trained_on(splits["train"])
        return ragged_splits(waveforms, folders.targets, splits)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        super().load_state_dict(state_dict)
