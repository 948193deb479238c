"""The base class of DataModules whose samples are files in one folder per class."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from litnets.data.core.base import SplitDataModule
from litnets.data.core.class_folders import ClassFolders, check_classes
from litnets.data.core.fingerprint import Digests
from litnets.data.core.groups import copy_groups
from litnets.data.core.stray_files import report_copies, report_small_files


class ClassFolderDataModule(SplitDataModule):
    """Files in `root/class/`, which are split, or in `root/train/class/`, `root/val/class/` and `root/test/class/`.

    The folder of the validation split may also be named `valid`, `validation` or `dev`, in any case. If the folder of
    validation or test does not exist, the split is taken from `train`.

    Args:
        root: The folder.
        group_pattern: Regular expression for the start of the name of each file, including subfolders of the class.
            Files for which its parentheses match the same text, such as those of one patient or speaker, stay in one
            split and fold: `([^_]+)_` for `p7_left.png`, `([^/]+)/` for `p7/left.png`. Default: only exact copies stay
            together.
        **splitting: Arguments of `SplitDataModule` and `ArrayDataModule`.
    """

    suffixes: ClassVar[Collection[str]]  # of the files, in lower case, with the dot
    file_kind: ClassVar[str]  # what a file is called in messages

    def __init__(self, root: str, group_pattern: str | None = None, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.root, self.group_pattern = Path(root), group_pattern

    @cached_property
    def folders(self) -> ClassFolders:
        """The files in `root`, listed on first use."""
        return ClassFolders.scan(self.root, self.suffixes, self.file_kind)

    @property
    def class_names(self) -> list[str]:
        return self.folders.class_names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    @cached_property
    def _name_groups(self) -> Tensor | None:
        return None if self.group_pattern is None else self.folders.name_groups(self.group_pattern)

    def files_to_read(self) -> list[Path]:
        """Return all files. Raise InputError for options of the split that are invalid, before any file is read."""
        if self.recorded_split is None:
            self.folders.split(self.split_spec, self._name_groups)
        return self.folders.files

    def assign_files(self, contents: Digests, usable: Tensor | None = None) -> dict[str, Tensor]:
        """Return the indices of the files in each split; see `assign_splits`. Report copies and very small files.

        Copies stay in one split, unless folders determine the splits or `group_pattern` determines the groups.

        Args:
            contents: Digest of the content of each file.
            usable: Mask of the files that may be used, `(files,)`; None for all.
        """
        folders = self.folders

        def propose() -> list[Tensor]:
            groups = copy_groups(contents, usable) if self._name_groups is None else self._name_groups
            return folders.split(self.split_spec, groups)

        splits = self.assign_splits(
            folders.fingerprint(contents),
            propose,
            folders.fixed_splits(self.split_spec),
            usable,
        )
        folders.check_trained_on(splits["train"])
        if self.trained_state is None:  # a new run
            used = torch.cat(list(splits.values())).sort().values.tolist()
            report_small_files([folders.files[i] for i in used], f"{self.file_kind}s")
            labels = folders.targets.numpy()
            report_copies(contents, labels, splits, f"{self.file_kind}s", lambda index: str(folders.files[index]))
        return splits

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "class_names": self.class_names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.predict_path is None or self.splits:
            check_classes(state_dict["class_names"], self.class_names)
        super().load_state_dict(state_dict)
