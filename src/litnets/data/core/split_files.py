"""The base class of data in one file, or in one file per split."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from litnets.data.core.base import SplitDataModule
from litnets.data.core.predefined_splits import find_splits, splits_beside
from litnets.data.core.splits import PARTS
from litnets.errors import InputError
from litnets.safety.escaping import printable


class SplitFilesDataModule(SplitDataModule):
    """Base class for data in one file, which is split, or in one file per split.

    A predefined split is used as it is. A validation or test split without a file is taken from the training file.

    Args:
        path: The file, or a folder with a file of each split, such as `train.csv`, `dev.csv` and `test.csv`.
        val_path: File of the validation split, if `path` is the file of the training split.
        test_path: File of the test split, likewise.
        **splitting: Arguments of `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(self, path: str, val_path: str | None = None, test_path: str | None = None, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.path = Path(path)
        self.split_paths = {
            part: Path(path) for part, path in (("val", val_path), ("test", test_path)) if path is not None
        }

    def find_files(self, suffixes: Collection[str], folders: bool = False) -> dict[str, Path]:
        """Return the file of each split, train first. Without predefined splits, it is `path`, which is to be split.

        Print which files next to the training file look like splits and are not used.

        Args:
            suffixes: Suffixes of files, in lower case.
            folders: Whether a split can be a folder.

        Raises:
            InputError: There are two files for one split, or splits without one to train on.
        """
        paths = find_splits(self.path, suffixes, folders) if self.path.is_dir() else {}
        for part, path in self.split_paths.items():
            if part in paths:
                raise InputError(f"{part}_path: {path}, but {self.path} has {paths[part].name}; remove one of them")
        if not paths:
            paths = {"train": self.path}
            unused = {
                part: path
                for part, path in splits_beside(self.path).items()
                if part not in self.split_paths and path not in self.split_paths.values()
            }
            if unused:
                names = printable(", ".join(path.name for path in unused.values()))
                options = " and ".join(f"--data.{part}_path" for part in unused)
                print(f"{self.path.parent}: {names} not used; to use it as a split, set {options}", flush=True)
        paths |= self.split_paths
        return {part: paths[part] for part in PARTS if part in paths}
