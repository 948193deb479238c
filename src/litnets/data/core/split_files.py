"""The base class of data in one file, or in one file per split."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from litnets.data.core.base import SplitDataModule
from litnets.data.core.predefined_splits import find_split_files


class SplitFilesDataModule(SplitDataModule):
    """Base class for data in one file, which is split, or in one file per split.

    A predefined split is used as it is. A validation or test split without a file is taken from the training file.

    Args:
        path: The file, or a folder with a file of each split, such as `train.csv`, `dev.csv` and `test.csv`.
        val_path: File of the validation split, if `path` is the file of the training split. Default: a
            part of `path`, or the file of that name in the folder `path`.
        test_path: File of the test split. Default: likewise.
        **splitting: Arguments of `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(self, path: str, val_path: str | None = None, test_path: str | None = None, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.path = Path(path)
        self.split_paths = {
            part: Path(path) for part, path in (("val", val_path), ("test", test_path)) if path is not None
        }

    def find_files(self, suffixes: Collection[str], folders: bool = False) -> dict[str, Path]:
        """Return the file of each split; see `find_split_files`."""
        return find_split_files(self.path, suffixes, self.split_paths, folders)
