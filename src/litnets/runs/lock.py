"""Lock a run folder, so that no two commands write into it at once.

The lock belongs to the process, not to the file: the operating system releases it when the process ends, however it
ends, so a run whose process was killed can be resumed immediately.
"""

import errno
import os
import shlex
import socket
import stat
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from litnets.errors import InputError
from litnets.runs.storage import read_json, write_json
from litnets.safety.escaping import printable

_LOCK_FILE = ".lock"
_OWNER_FILE = ".owner.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_held: list["RunLock"] = []  # by this process
_TIMEOUT = 0.5  # seconds; a lock file that its owner is just removing needs a second attempt


class RunInUseError(InputError):
    """Another process is writing into the run folder."""


class RunLock:
    """An exclusive lock on a run folder, for one process.

    Two hidden files exist while it is held: the lock itself, and who holds it.

    Args:
        folder: The run folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: FileLock | None = None

    @property
    def is_held(self) -> bool:
        return self._lock is not None

    def acquire(self) -> None:
        """Take the lock. On a file system without locks, warn and continue.

        Raises:
            RunInUseError: Another process holds it.
            InputError: The folder does not exist, or cannot be written.
        """
        if not self.folder.is_dir():  # filelock would create it
            raise InputError(f"there is no run folder {self.folder}")
        path = self.folder / _LOCK_FILE
        _check_lock_file(path)
        # `fallback_to_soft` would lock by the existence of the file, which a killed process leaves behind for good.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(timeout=_TIMEOUT)
        except Timeout as error:
            raise RunInUseError(f"{self.folder} is in use{self._owner()}; wait until it ends, or stop it") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise InputError(f"{path} cannot be locked: {error.strerror or error}") from error
            text = f"litnets: {self.folder}: no locks on this file system; use one command at a time"
            print(printable(text), file=sys.stderr)
            path.unlink(missing_ok=True)
            return
        self._lock = lock
        _held.append(self)
        write_json(self.folder / _OWNER_FILE, _this_process())

    def release(self) -> None:
        """Release the lock and remove its files; do nothing if it is not held."""
        if self._lock is None:
            return
        # Removed while the lock is held: whoever has opened the removed file sees that it is gone and opens a new one.
        (self.folder / _OWNER_FILE).unlink(missing_ok=True)
        if os.name != "nt":  # Windows removes no open file
            (self.folder / _LOCK_FILE).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None
        _held.remove(self)

    def _owner(self) -> str:
        """Return ` by ... since ...`, or nothing if the owner has not written it yet."""
        try:
            owner = read_json(self.folder / _OWNER_FILE)
        except (InputError, FileNotFoundError):
            return ""
        who = f"`{owner.get('command')}` (process {owner.get('pid')} on {owner.get('host')})"
        return f" by {who} since {owner.get('since')}"


def release_all_locks() -> None:
    """Release the locks that this process holds, at the end of a command."""
    while _held:
        _held[-1].release()


def _this_process() -> dict[str, Any]:
    return {
        "command": shlex.join(["litnets", *sys.argv[1:]]),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _check_lock_file(path: Path) -> None:
    """Raise InputError for a link, FIFO, device or folder in place of the lock file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file; remove it")
