"""Files that are downloaded once, completely, and only if size and checksum are right."""

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
from litnets.files import open_regular, replacing

_TIMEOUT = 30.0  # seconds without an answer, after which a server or the network is taken to be down
_SLOWEST = 20_000  # bytes in a second on average, below which a download is given up

# What to do about a corrupted file, to be appended to an error message.
REDOWNLOAD = "delete it to download it again, or replace it with a good copy"


def md5_of(path: Path) -> str:
    """MD5 of a file, as hexadecimal digits. It guards against broken files, not against forged ones."""
    with open_regular(path) as file:
        return hashlib.file_digest(cast(Any, file), _new_md5).hexdigest()


def check_md5(path: Path, expected: str, content: bytes | None = None) -> None:
    """Verify the MD5 of a file.

    Args:
        path: The file.
        expected: Its MD5, as hexadecimal digits.
        content: The bytes of the file, if they have been read already.

    Raises:
        InputError: The MD5 differs, or the path is no regular file.
        OSError: The file cannot be read.
    """
    actual = md5_of(path) if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise InputError(f"{path} is corrupted: its MD5 is {actual}, expected {expected}; {REDOWNLOAD}")


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def download(urls: Sequence[str], path: Path, md5: str, size: int) -> None:
    """Download `path` from the first of `urls` that has a file with this MD5. An existing file is left alone.

    The file appears under its name when it is complete. Of several processes that call this at once, one downloads and
    the others wait.

    Args:
        urls: Where the file is.
        path: Where it goes.
        md5: Its MD5.
        size: Its size in bytes, or an upper bound: nothing larger is downloaded.

    Raises:
        InputError: No address had the file, or the folder cannot be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with FileLock(lock):
            for stale in path.parent.glob(f".{escape(path.name)}.*part"):  # of a process that was killed
                stale.unlink()
            problems = [_try(url, path, md5, size) for url in urls if not path.exists()]
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


def _try(url: str, path: Path, md5: str, size: int) -> str | None:
    """Download from one address, with the lock held; return the problem, if there is one."""
    try:
        print(f"downloading {url}", flush=True)
        with replacing(path) as file:
            received = _receive(url, file, size)
            if received != md5:
                raise _WrongFileError(f"{url} gave a file with the MD5 {received}, not {md5}")
        return None
    except _WrongFileError as error:
        return str(error)
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', error)}"


class _WrongFileError(Exception):
    """An answer that is not the file; the message names the address."""


def _receive(url: str, file: BinaryIO, size: int) -> str:
    """Copy an answer into a file and return its MD5.

    Raises:
        TimeoutError: The server sends so slowly that it might never end.
    """
    outcome: list[str | Exception] = []

    def work() -> None:
        try:
            outcome.append(_copy(url, file, size))
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                outcome.append(OSError(error.reason))
        except Exception as error:
            outcome.append(error.with_traceback(None))  # whose frames hold this list

    # A timeout of the socket starts anew with each byte, so the whole is timed from another thread.
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
    return 2 * _TIMEOUT + size / _SLOWEST


def _copy(url: str, file: IO[bytes], size: int) -> str:
    digest, received = _new_md5(), 0
    with urllib.request.build_opener(_WebRedirects).open(url, timeout=_TIMEOUT) as answer:
        while block := answer.read(1 << 16):
            received += len(block)
            if received > size:
                raise _WrongFileError(f"{url} gave more than the {size:,} bytes of the file")
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses; urllib would also follow those to FTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.HTTPError(req.full_url, code, f"redirects to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
