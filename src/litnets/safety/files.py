"""Open and replace files safely: read only regular files, and follow no link when writing.

    with replacing(run / "results.json") as file:
        file.write(text.encode())

Reading never waits for a FIFO or a device. Writing creates a temporary file under a name that nobody can guess, and
then renames it, so that a link at the target is replaced instead of followed.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from litnets.errors import InputError

# Windows has neither flag; opening there does not block, and creating a link requires special rights.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotRegularFileError(InputError):
    """Something other than a regular file where one was expected."""


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file, or a link to one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, in binary mode. Links to regular files are followed.

    Raises:
        NotRegularFileError: A FIFO, socket, device or folder. It is not read from, and nothing waits for it.
        OSError: The file does not exist or cannot be read.
    """
    if "\0" in str(path):
        raise NotRegularFileError(f"{str(path)!r} is not a file name")
    _check_regular(path, path.stat())
    # Non-blocking, because opening a FIFO without a writer would hang.
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    try:
        _check_regular(path, os.fstat(descriptor))  # it may have been replaced since
        if _NO_WAIT:
            os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise NotRegularFileError(f"{path} is {kind}; expected a regular file")


def open_in_place(path: Path) -> BinaryIO:
    """Open a regular file for reading and writing, without truncating it; create it if it does not exist.

    Raises:
        NotRegularFileError: A link, which is not followed, or a FIFO, socket, device or folder.
        OSError: The file cannot be written.
    """
    if path.is_symlink():
        raise NotRegularFileError(f"{path} is a link, which is not followed for writing; remove it")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW | _NO_WAIT | _BINARY, 0o666)
    try:
        _check_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "r+b")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file completely or not at all, by renaming a temporary file in the same folder.

    If the block raises, the temporary file is removed and `path` stays as it was. The content is flushed but not synced
    to the disk; call `os.fsync` on the file where a power cut matters.

    Raises:
        OSError: The folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Write a folder completely or not at all, by renaming a temporary folder beside it.

    If the block raises, the temporary folder is removed and `path` stays as it was. A link at `path` is replaced. Only
    one process at a time may write a folder, because what killed processes have left is removed first.

    Raises:
        OSError: The folder cannot be written.
    """
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        _remove(leftover)
    part, former = (path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for _ in range(2))
    part.mkdir()
    try:
        yield part
        if path.is_symlink() or path.exists():
            path.rename(former)
        try:
            part.rename(path)
        except OSError:
            if former.is_symlink() or former.exists():
                former.rename(path)
            raise
    finally:
        _remove(part)
        _remove(former)


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all it contains, if it exists. No link is followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
