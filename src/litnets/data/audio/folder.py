"""AudioFolder: your recordings, in one folder per class."""

from typing import Any

from litnets.data.audio.base import AudioDataModule, ragged_splits
from litnets.data.audio.reading import SUFFIXES
from litnets.data.core.batching import RaggedDataset
from litnets.data.core.class_folder_module import ClassFolderDataModule


class AudioFolder(ClassFolderDataModule, AudioDataModule):
    """Your WAV or FLAC recordings, in one folder per class.

        litnets fit --model RNNClassifier --data AudioFolder --data.root commands

    Recordings in `root/class/*.wav` are split into training, validation and test. Alternatively, the splits are the
    folders `root/{train,val,test}/class/*.wav`; if val or test does not exist, the split is taken from train. The
    validation folder may also be named valid, validation or dev.

    All recordings are read once, converted to mono, resampled and kept in memory. FLAC files, and WAV files with other
    than 16 bits, require soundfile: `pip install -e '.[audio]'`.

    Args:
        root: Folder of the recordings.
        **audio: Arguments of `ClassFolderDataModule`, `AudioDataModule`, `SplitDataModule` and
            `ArrayDataModule`.
    """

    suffixes = SUFFIXES
    file_kind = "recording"

    def __init__(self, root: str, **audio: Any) -> None:
        super().__init__(root, **audio)

    def load(self) -> dict[str, RaggedDataset]:
        waveforms, broken, contents = self.read_files(self.files_to_read())
        return ragged_splits(waveforms, self.folders.targets, self.assign_files(contents, ~broken))
