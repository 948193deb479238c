"""Atomic downloads with verified size and checksum."""

import hashlib
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from filelock import FileLock

from litnets.errors import InputError
from litnets.safety.files import open_regular, replacing

_TIMEOUT = 30.0  # seconds without a response, after which the server is considered down
_MIN_SPEED = 20_000  # bytes per second on average, below which a download is aborted

# The end of the error message for a corrupted file.
REDOWNLOAD = "delete it to download it again, or replace it with a good copy"


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, as hexadecimal digits. It detects corrupted files, not malicious ones."""
    with open_regular(path) as file:
        return hashlib.file_digest(cast(Any, file), _new_md5).hexdigest()


def check_md5(path: Path, expected: str, content: bytes | None = None) -> None:
    """Verify the MD5 of a file.

    Args:
        path: The file.
        expected: Its MD5, as hexadecimal digits.
        content: The bytes of the file, if they have been read already.

    Raises:
        InputError: The MD5 differs, or the path is not a regular file.
        OSError: The file cannot be read.
    """
    actual = md5_of(path) if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise InputError(f"{path} is corrupted: its MD5 is {actual}, expected {expected}; {REDOWNLOAD}")


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def download(urls: Sequence[str], path: Path, md5: str, size: int) -> None:
    """Download a file from the first URL that serves it with this MD5, unless it exists.

    The write is atomic. If several processes call this at the same time, one downloads and the others wait.

    Args:
        urls: URLs to try, in order.
        path: The file to write.
        md5: MD5 of the file.
        size: Size of the file in bytes, or an upper bound. Nothing larger is downloaded.

    Raises:
        InputError: No URL served the file, or the folder cannot be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with FileLock(lock):
            for stale in path.parent.glob(f".{escape(path.name)}.*part"):  # left by a killed process
                stale.unlink()
            problems = [_try_download(url, path, md5, size) for url in urls if not path.exists()]
            if path.exists():
                # Processes that still wait will find the file and do not need the lock. On Windows, an open lock cannot
                # be deleted, and filelock deletes it on release.
                with suppress(PermissionError):
                    lock.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} does not exist, and {path.parent} cannot be written: {error}") from error
    if not path.exists():
        raise InputError(
            f"{path} does not exist and could not be downloaded: {'; '.join(filter(None, problems))}\n"
            f"Download it manually, or set --data.data_dir to a folder that contains it."
        )


def _try_download(url: str, path: Path, md5: str, size: int) -> str | None:
    """Download from one URL while holding the lock. Return a description of the failure, None if it succeeded."""
    try:
        print(f"downloading {url}", flush=True)
        with replacing(path) as file:
            received = _receive(url, file, size)
            if received != md5:
                raise _WrongFileError(f"{url} served a file with the MD5 {received}, expected {md5}")
        return None
    except _WrongFileError as error:
        return str(error)
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', error)}"


class _WrongFileError(Exception):
    """The response is not the expected file. The message names the URL."""


def _receive(url: str, file: BinaryIO, size: int) -> str:
    """Write the response to a file and return its MD5.

    Raises:
        TimeoutError: The download is too slow to be worth waiting for.
    """
    outcome: list[str | Exception] = []

    def work() -> None:
        try:
            outcome.append(_copy(url, file, size))
        except urllib.error.HTTPError as error:
            with error:  # the error holds the connection
                outcome.append(OSError(error.reason))
        except Exception as error:
            outcome.append(error.with_traceback(None))  # the frames of the traceback reference `outcome`

    # The timeout of a socket restarts with each byte. A thread allows a time limit for the complete download.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    seconds = _time_limit(size)
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"timed out: not complete after {seconds:.0f} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _time_limit(size: int) -> float:
    return 2 * _TIMEOUT + size / _MIN_SPEED


def _copy(url: str, file: IO[bytes], size: int) -> str:
    digest, received = _new_md5(), 0
    with urllib.request.build_opener(_WebRedirects).open(url, timeout=_TIMEOUT) as response:
        while block := response.read(1 << 16):
            received += len(block)
            if received > size:
                raise _WrongFileError(f"{url} served more than the expected {size:,} bytes")
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP and HTTPS only; urllib would also follow redirects to FTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.HTTPError(req.full_url, code, f"redirects to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
