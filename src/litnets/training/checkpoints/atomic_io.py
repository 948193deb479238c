"""Atomic checkpoint writes."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from litnets.errors import InputError
from litnets.safety.checkpoint_file import load_verified
from litnets.safety.files import replacing


class SaveError(InputError):
    """A checkpoint could not be written. The previous checkpoint is unchanged."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically, and read them with torch's safe loading.

    A checkpoint is written to a temporary file in the same folder, synced to disk and then renamed, so that a kill, a
    power failure or a full disk leaves the previous checkpoint intact. (Lightning writes to `$TMPDIR` and moves the
    file. On a full disk that replaced a good checkpoint by a truncated one, and in a read-only folder it silently saved
    nothing.)

    The temporary files of killed processes are removed before the first checkpoint is saved into a folder. Paths with a
    protocol (`s3://`) are handled by Lightning.

    Example:
        >>> Trainer(plugins=[AtomicCheckpointIO()])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._cleaned_folders: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint completely or not at all. A link at `path` is replaced, not followed.

        Raises:
            SaveError: The file cannot be written.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_stale_temp_files(target.parent)
            with replacing(target) as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:
            reason = _os_error(error)
            if reason is None:
                raise  # not an error of the disk: the checkpoint holds something that cannot be saved
            previous = f"the previous {target.name} is unchanged" if target.exists() else "there is no earlier one"
            raise SaveError(
                f"checkpoint {target}: could not be saved: {reason.strerror or reason}; {previous}"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint onto the CPU. No code in the file is run, whatever the value of `weights_only`.

        Raises:
            InputError: The file is damaged, or holds more than plain data.
        """
        if "://" in str(path):
            return super().load_checkpoint(path, map_location or _to_cpu, weights_only=True)
        # Not memory-mapped: training continues with these tensors while the file is replaced. The content need not be a
        # checkpoint: Lightning also passes weights between processes through files.
        content: dict[str, Any] = load_verified(Path(path), mmap=False)
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint file, and nothing else.

        (Lightning removes whatever is at `path`, even a folder. ModelCheckpoint takes the path from the checkpoint that
        it resumes from, which may come from a stranger.)

        Raises:
            InputError: `path` is not a checkpoint file.
        """
        if "://" in str(path):
            super().remove_checkpoint(path)
            return
        target = Path(path)
        if target.suffix != ".ckpt" or ".." in target.parts or target.is_dir():
            raise InputError(f"checkpoint {target}: not removed, because it is not a checkpoint file (*.ckpt)")
        target.unlink(missing_ok=True)

    def _remove_stale_temp_files(self, folder: Path) -> None:
        if folder not in self._cleaned_folders:
            for temp_file in folder.glob(".*.ckpt.*.part"):
                if temp_file.is_symlink() or not temp_file.is_dir():
                    temp_file.unlink(missing_ok=True)
            self._cleaned_folders.add(folder)


def _to_cpu(storage: Any, location: str) -> Any:
    return storage


def _os_error(error: BaseException) -> OSError | None:
    """Return the operating system's error behind `error`, or None. torch's C++ writer wraps it in a RuntimeError."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that the new name of a file survives a power failure."""
    if os.name == "nt":
        return  # Windows cannot open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
