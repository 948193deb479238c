"""Lock a run folder, so that only one command at a time writes into it.

The lock belongs to the process, not to the file. The operating system releases it whenever the process ends, even if it
is killed, so that the run can be resumed immediately.
"""

import errno
import os
import shlex
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from litnets.errors import InputError
from litnets.runs.storage import read_json, write_json
from litnets.safety.escaping import printable, without_passwords

_LOCK_FILE = ".lock"
_OWNER_FILE = ".owner.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_held: list["RunLock"] = []  # the locks that this process holds
_TIMEOUT = 0.5  # seconds for further attempts, because the owner may be removing the lock file at this moment


class RunInUseError(InputError):
    """Another process is writing into the run folder."""


class RunLock:
    """An exclusive lock on a run folder, for one process.

    While the lock is held, the folder contains two hidden files: the lock, and a description of the owner.

    Args:
        folder: An existing run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: FileLock | None = None

    @property
    def is_held(self) -> bool:
        return self._lock is not None

    def acquire(self) -> None:
        """Acquire the lock. On a file system without locks, print a warning and continue.

        Raises:
            RunInUseError: Another process holds it.
            InputError: The folder does not exist, or cannot be written.
        """
        if not self.folder.is_dir():  # filelock would create it
            raise InputError(f"there is no run folder {self.folder}")
        path = self.folder / _LOCK_FILE
        _check_lock_file(path)
        # `fallback_to_soft` would take the existence of the file for the lock, and a killed process leaves it behind.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(timeout=_TIMEOUT)
        except Timeout as error:
            raise RunInUseError(f"{self.folder} is in use{self._owner()}; wait until it ends, or stop it") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise InputError(f"{path} cannot be locked: {error.strerror or error}") from error
            text = f"litnets: {self.folder}: this file system has no locks; run only one command at a time there"
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
        # Remove the file while the lock is held. A process that has just opened it then notices and opens a new one.
        (self.folder / _OWNER_FILE).unlink(missing_ok=True)
        if os.name != "nt":  # Windows cannot remove an open file
            (self.folder / _LOCK_FILE).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None
        _held.remove(self)

    def _owner(self) -> str:
        """Return ` by <command> since <time>`, or an empty text if the owner has not written its description yet."""
        try:
            owner = read_json(self.folder / _OWNER_FILE)
        except (InputError, FileNotFoundError):
            return ""
        who = f"`{owner.get('command')}` (process {owner.get('pid')} on {owner.get('host')})"
        return f" by {who} since {owner.get('since')}"


@contextmanager
def released_locks() -> Iterator[None]:
    """Run a command, and release the locks that it has acquired."""
    before = list(_held)
    try:
        yield
    finally:
        for lock in [lock for lock in reversed(_held) if lock not in before]:
            lock.release()


def _this_process() -> dict[str, Any]:
    return {
        "command": without_passwords(shlex.join(["litnets", *sys.argv[1:]])),
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
