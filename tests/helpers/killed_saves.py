"""Kill a process at a chosen point while it saves a checkpoint.

The child process stops at that point and reports it through a pipe; only then is it killed. The test therefore does not
depend on the speed or load of the machine.
"""

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import torch

from litnets.training.checkpoints import atomic_io
from litnets.training.checkpoints.atomic_io import AtomicCheckpointIO

# The points of a save, in order, and whether the new checkpoint is in place if the process is killed there.
POINTS = {
    "a tenth written": False,
    "half written": False,
    "written": False,  # but not synced
    "synced": False,  # but not renamed
    "renamed": True,  # but the folder is not synced
}


def kill_during_save(checkpoint: dict[str, Any], path: Path, point: str) -> None:
    """Save a checkpoint in a child process, which is killed at one of `POINTS`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _save(checkpoint, path, point, lambda *_: _wait_to_be_killed(writer))
        finally:
            os._exit(1)  # the point was not reached
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        reached = pipe.read(1)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert reached, f"the save never reached the point '{point}'"
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _wait_to_be_killed(writer: int) -> None:
    os.write(writer, b"!")
    while True:
        signal.pause()


def _save(checkpoint: dict[str, Any], path: Path, point: str, stop: Callable[..., None]) -> None:
    """Save, with the function that would be called after `point` replaced by `stop`."""
    save = torch.save

    def write_partially(content: Any, file: BinaryIO) -> None:
        buffer = io.BytesIO()
        save(content, buffer)
        size = len(buffer.getvalue())
        file.write(buffer.getvalue()[: size // 10 if point == "a tenth written" else size // 2])
        file.flush()
        stop()

    replacements = {
        "a tenth written": mock.patch.object(torch, "save", write_partially),
        "half written": mock.patch.object(torch, "save", write_partially),
        "written": mock.patch.object(os, "fsync", stop),
        "synced": mock.patch.object(Path, "replace", stop),
        "renamed": mock.patch.object(atomic_io, "_sync_folder", stop),
    }
    with replacements[point]:
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)
