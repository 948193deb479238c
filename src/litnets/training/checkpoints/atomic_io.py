"""Checkpoints on disk: each is there whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from litnets.errors import InputError
from litnets.training.checkpoints.loading import load_verified


class SaveError(InputError):
    """A checkpoint that could not be written. The one that it was to replace is untouched."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, syncs it to the disk, and only then gives it the target's name, so that
    a kill, a power cut or a full disk in the middle of it leaves the former one. Reads with torch's safe loading.

    (Lightning's own writes to `$TMPDIR` and moves: with the target's disk full that put a truncated file in place of
    the good one, and in a read-only folder it saved nothing and said nothing.)

    What a killed process left half written is removed before the first checkpoint that is saved into the same folder.
    A path with a protocol (`s3://`) takes Lightning's road.
    """

    def __init__(self) -> None:
        self._tidied: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Raises SaveError if the file cannot be written; nothing is left of it then."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        # Numbered, so that two processes that save the same file by mistake do not write into each other's.
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_stale_temp_files(target.parent)
            try:
                with part.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:
            reason = _os_error(error)
            if reason is None:
                raise  # it was not the disk: something in the checkpoint that cannot be saved
            kept = f"the former {target.name} is untouched" if target.exists() else "there is no earlier one"
            raise SaveError(f"checkpoint {target}: could not be saved: {reason.strerror or reason}; {kept}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Raises InputError if it is no whole checkpoint of plain data. Whatever `weights_only` says, nothing in the
        file is run."""
        if "://" in str(path):
            return super().load_checkpoint(path, map_location or _to_cpu, weights_only=True)
        # Not mapped: training goes on with these tensors while the file is replaced. Lightning also hands weights from
        # process to process by this road, which are no checkpoint.
        content: dict[str, Any] = load_verified(Path(path), mmap=False)
        return content

    def _remove_stale_temp_files(self, folder: Path) -> None:
        if folder not in self._tidied:
            for leftover in folder.glob(".*.ckpt.*.part"):
                leftover.unlink(missing_ok=True)
            self._tidied.add(folder)


def _to_cpu(storage: Any, location: str) -> Any:
    return storage


def _os_error(error: BaseException) -> OSError | None:
    """What the system said; torch's writer, which runs in C++, raises a RuntimeError on top of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _sync_folder(folder: Path) -> None:
    """The new name, too, is to survive a power cut."""
    if os.name == "nt":
        return  # has no such thing
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
