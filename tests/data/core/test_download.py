import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from litnets.data.core import download as module
from litnets.data.core.download import check_md5, download, md5_of
from litnets.errors import InputError

CONTENT = bytes(range(256)) * 10_000  # 2.5 MB: more than a block
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name. The folder in the URL selects how it responds or fails."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.closing = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}/data.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        how = self.path.split("/")[1]
        self.server.requests.append(how)
        getattr(self, how)()

    def good(self) -> None:
        self.answer(CONTENT)

    def slow(self) -> None:
        self.server.closing.wait(0.5)
        self.answer(CONTENT)

    def wrong(self) -> None:
        self.answer(b"<html>sign in to use this network</html>")

    def missing(self) -> None:
        self.send_error(404)

    def broken(self) -> None:
        self.send_error(500)

    def cut(self) -> None:
        self.answer(CONTENT[: len(CONTENT) // 2], length=len(CONTENT))

    def cut_chunk(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"ffff\r\nand no more")

    def nonsense(self) -> None:
        self.wfile.write(b"this is no HTTP\r\n\r\n")

    def silent(self) -> None:
        self.server.closing.wait(120)

    def stalled(self) -> None:
        self.answer(CONTENT[:1000], length=len(CONTENT))
        self.wfile.flush()
        self.server.closing.wait(120)

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.server.closing.is_set():
                self.wfile.write(CONTENT)

    def drip(self) -> None:
        """Send single bytes slowly, so that the socket never times out."""
        self.send_response(200)
        self.end_headers()
        self.drip_bytes(b"x")

    def drip_header(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        self.drip_bytes(b"x")

    def drip_bytes(self, byte: bytes) -> None:
        with suppress(OSError):
            while not self.server.closing.wait(0.02):
                self.wfile.write(byte)

    def to_file(self) -> None:
        self.redirect("file:///etc/passwd")

    def to_ftp(self) -> None:
        self.redirect("ftp://127.0.0.1:1/data.gz")

    def to_data(self) -> None:
        self.redirect("data:,x")

    def to_itself(self) -> None:
        self.redirect("/to_itself/data.gz")

    def to_good(self) -> None:
        self.redirect(self.server.url("good"))

    def redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()

    def answer(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Disable logging."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some" / "raw" / "data.gz"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_nothing_but_a_lock(path: Path) -> None:
    assert set(names(path.parent)) <= {".data.gz.lock"}


@pytest.mark.parametrize("content", [b"", b"some", CONTENT], ids=["empty", "short", "long"])
def test_md5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert md5_of(tmp_path / "file") == hashlib.md5(content).hexdigest()


def test_check_md5(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    check_md5(path, MD5)
    check_md5(path, hashlib.md5(b"some").hexdigest(), content=b"some")
    with pytest.raises(InputError, match=rf"file is corrupted: its MD5 is {MD5}, expected 0123; delete it to download"):
        check_md5(path, "0123")
    with pytest.raises(InputError, match="file is corrupted"):
        check_md5(path, MD5, content=b"some")


def test_a_file_is_downloaded_once_and_nothing_else_remains(server: Server, path: Path) -> None:
    for _ in range(2):
        download([server.url("good")], path, MD5, len(CONTENT))
        assert path.read_bytes() == CONTENT
        assert names(path.parent) == ["data.gz"]
    assert server.requests == ["good"]


def test_a_download_has_the_permissions_of_any_new_file(server: Server, path: Path) -> None:
    download([server.url("good")], path, MD5, len(CONTENT))
    (path.parent / "new").touch()
    assert path.stat().st_mode == (path.parent / "new").stat().st_mode


def test_an_existing_file_is_not_replaced(server: Server, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    download([server.url("good")], path, MD5, len(CONTENT))
    assert (path.read_bytes(), server.requests, names(path.parent)) == (b"mine", [], ["data.gz"])


FAILURES = {
    "wrong": "MD5",
    "missing": "Not Found",
    "broken": "Internal Server Error",
    "cut": "MD5|IncompleteRead",  # depends on the version of Python
    "cut_chunk": "IncompleteRead",
    "nonsense": "this is no HTTP",
    "silent": "timed out",
    "stalled": "timed out",
    "refused": "refused",
    "endless": "served more than the expected 2,560,000 bytes",
    "drip": "timed out: not complete after 1 s",
    "drip_header": "timed out: not complete after 1 s",
    "to_file": "file:///etc/passwd' is not allowed",
    "to_ftp": "redirects to ftp://127",
    "to_data": "data:,x' is not allowed",
    "to_itself": "infinite loop",
}


def address(server: Server, how: str) -> str:
    """Return a URL of the server, or one where no server listens."""
    if how != "refused":
        return server.url(how)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}/data.gz"


@pytest.mark.parametrize(("how", "message_pattern"), FAILURES.items(), ids=FAILURES)
def test_a_failure_is_reported_and_leaves_no_file(
    server: Server, path: Path, how: str, message_pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if message_pattern == "timed out":  # the others answer, however slow the machine is
        monkeypatch.setattr(module, "_TIMEOUT", 0.3)
    if how.startswith("drip"):
        monkeypatch.setattr(module, "_time_limit", lambda size: 1.0)
    url = address(server, how)
    with pytest.raises(InputError, match=message_pattern) as caught:
        download([url], path, MD5, len(CONTENT))
    assert_nothing_but_a_lock(path)
    message = str(caught.value)
    assert str(path) in message
    assert url in message
    assert "manually" in message


WAITS = {"silent", "stalled", "drip", "drip_header"}  # until the time limit of five seconds


@pytest.mark.parametrize("how", [pytest.param(how, marks=[pytest.mark.slow] * (how in WAITS)) for how in FAILURES])
def test_the_next_url_is_tried(server: Server, path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if FAILURES[how] == "timed out":  # long enough for the next address to answer on a machine that is busy
        monkeypatch.setattr(module, "_TIMEOUT", 5)
    if how.startswith("drip"):
        monkeypatch.setattr(module, "_time_limit", lambda size: 5.0)
    download([address(server, how), server.url("good"), server.url("missing")], path, MD5, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["data.gz"]
    assert server.requests[-1] == "good"  # the third URL is not tried


def test_an_http_redirect_is_followed(server: Server, path: Path) -> None:
    download([server.url("to_good")], path, MD5, len(CONTENT))
    assert path.read_bytes() == CONTENT


def test_a_planted_link_is_not_followed(server: Server, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    for name in (".data.gz.part", ".data.gz.0.part"):
        (path.parent / name).symlink_to(tmp_path / "mine")
    download([server.url("good")], path, MD5, len(CONTENT))
    assert (tmp_path / "mine").read_text() == "mine"
    assert names(path.parent) == ["data.gz"]


def test_the_time_limit_grows_with_the_size() -> None:
    assert module._time_limit(0) == 60
    assert module._time_limit(170_498_071) == pytest.approx(8585, abs=1)


def test_all_failures_are_reported(server: Server, path: Path) -> None:
    with pytest.raises(InputError, match=r"missing/data.gz: Not Found; .*wrong/data.gz served a file with the MD5"):
        download([server.url("missing"), server.url("wrong")], path, MD5, len(CONTENT))
    assert server.requests == ["missing", "wrong"]


def test_a_failed_download_can_be_retried(server: Server, path: Path) -> None:
    with pytest.raises(InputError):
        download([server.url("missing")], path, MD5, len(CONTENT))
    download([server.url("good")], path, MD5, len(CONTENT))
    assert names(path.parent) == ["data.gz"]


@pytest.mark.parametrize("where", [".", ".."], ids=["its folder is a file", "a folder above is a file"])
def test_an_unwritable_folder_is_reported(server: Server, path: Path, where: str) -> None:
    # Not by removing permissions, because tests may run as root.
    blocked = (path.parent / where).resolve()
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written") as caught:
        download([server.url("good")], path, MD5, len(CONTENT))
    assert str(path.parent) in str(caught.value)
    assert server.requests == []


def test_a_full_disk_is_reported(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        download([server.url("good")], path, MD5, len(CONTENT))
    assert_nothing_but_a_lock(path)


def test_an_interrupt_is_propagated_and_leaves_no_file(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(part: Path, target: Path) -> None:
        assert part.read_bytes() == CONTENT  # the download is complete
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download([server.url("good")], path, MD5, len(CONTENT))
    assert_nothing_but_a_lock(path)
    download([server.url("good")], path, MD5, len(CONTENT))  # the lock was released
    assert names(path.parent) == ["data.gz"]


# A process that reports when it has imported, and downloads on command. It loads the file by its path, because the
# package imports torch, which takes seconds.
PROCESS = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("download", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print("ready", flush=True)
input()
module.download([sys.argv[2]], pathlib.Path(sys.argv[3]), sys.argv[4], 2_560_000)
"""


def start(url: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(module.__file__), url, str(path), MD5]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_only_one_of_two_concurrent_processes_downloads(server: Server, path: Path) -> None:
    processes = [start(server.url("slow"), path) for _ in range(2)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert server.requests == ["slow"]
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["data.gz"]


def test_remains_of_a_killed_process_are_removed(server: Server, path: Path) -> None:
    with start(server.url("stalled"), path) as process:
        go(process)
        while not list(path.parent.glob(".data.gz.*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not path.exists()
    (path.parent / ".data.gz.part").write_bytes(CONTENT + b"longer than what comes")
    download([server.url("good")], path, MD5, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["data.gz"]
