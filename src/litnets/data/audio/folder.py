"""AudioFolder: your own recordings, in one folder per class."""

from functools import cached_property
from pathlib import Path
from typing import Any

from litnets.data.audio.base import AudioDataModule, ragged_splits
from litnets.data.audio.reading import SUFFIXES
from litnets.data.core.batching import RaggedDataset
from litnets.data.core.class_folders import ClassFolders, check_classes


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
        return ClassFolders.scan(self.root, SUFFIXES, "recording")

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
