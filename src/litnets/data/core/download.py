"""Files that are fetched once, whole, and only if their checksum is right."""

import hashlib
import http.client
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from filelock import FileLock

from litnets.errors import InputError
from litnets.files import open_regular

_TIMEOUT = 30.0  # seconds without an answer, so that a machine without a network is told so and does not hang


def md5_of(path: Path) -> str:
    """MD5 of a file, as hexadecimal digits. It guards against broken files, not against forged ones."""
    with open_regular(path) as file:
        return hashlib.file_digest(cast(Any, file), lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(urls: Sequence[str], path: Path, md5: str) -> None:
    """Fetch `path` from the first of `urls` that gives a file with this MD5. A file that is there is left alone.

    The file appears under its name when it is whole; of several processes that ask at once, one downloads and the
    others wait.

    Raises:
        InputError: No address gave the file, or the folder cannot be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with FileLock(lock):
            problems = [_try(url, path, md5) for url in urls if not path.exists()]
            if path.exists():
                # Whoever still waits for the lock finds the file, and needs it no more; Windows removes it by itself.
                with suppress(PermissionError):
                    lock.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} is not there, and {path.parent} cannot be written: {error}") from error
    if not path.exists():
        raise InputError(
            f"{path} is not there and could not be downloaded: {'; '.join(filter(None, problems))}\n"
            f"Put it there by hand, or point --data.data_dir at a folder that has it."
        )


def _try(url: str, path: Path, md5: str) -> str | None:
    """Download from one address, with the lock held; what went wrong, if something did."""
    part = path.with_name(f".{path.name}.part")  # one name, so that what a killed process left is written over
    try:
        print(f"downloading {url}", flush=True)
        with part.open("wb") as file, urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            while block := answer.read(1 << 20):
                file.write(block)
        if (found := md5_of(part)) != md5:
            return f"{url} gave a file with the MD5 {found}, not {md5}"
        part.replace(path)
        return None
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', error)}"
    finally:
        part.unlink(missing_ok=True)
