"""Only one process at a time may write into a run folder."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import RunInUseError

HOLD = """
import sys
from pathlib import Path
from litnets.runs.folder import Run

sys.argv[1:] = ["fit", "--config", "a b.yaml"]
run = Run(Path("run"))
run.lock()
print("locked", flush=True)
sys.stdin.read()  # until the test closes it, or kills this process
"""


@pytest.fixture
def run() -> Run:
    folder = Path("run")
    folder.mkdir()
    return Run(folder)


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.folder.iterdir())


@pytest.fixture
def owner(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_lock(run: Run, owner: subprocess.Popen[str]) -> None:
    who = rf"run is in use by `litnets fit --config 'a b.yaml'` \(process {owner.pid} on {socket.gethostname()}\)"
    with pytest.raises(RunInUseError, match=rf"^{who} since 20\d\d-.*; wait until it ends, or stop it$"):
        run.lock()
    owner.communicate("")  # close its stdin, so that it exits
    run.lock()
    run.unlock()
    assert names(run) == []


def test_the_lock_of_a_killed_process_is_taken_over(run: Run, owner: subprocess.Popen[str]) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert names(run) == [".lock", ".owner.json"]
    run.lock()
    assert json.loads(Path("run/.owner.json").read_text())["pid"] == os.getpid()
    run.unlock()
    assert names(run) == []


def test_locking_again_is_harmless_for_the_same_run_but_not_for_another_object(run: Run) -> None:
    run.lock()
    run.lock()
    with pytest.raises(RunInUseError):
        Run(run.folder).lock()
    run.unlock()
    run.unlock()
    Run(run.folder).lock()


def test_a_forked_process_does_not_keep_the_lock(run: Run) -> None:
    """A DataLoader worker may outlive its killed parent by some seconds."""
    run.lock()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent closes its end
        os._exit(0)
    os.close(read)
    run.unlock()
    Run(run.folder).lock()
    os.close(write)
    os.waitpid(child, 0)


def test_a_removed_lock_file_is_not_a_lock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process opens the lock file; the owner then releases and removes it; a third process locks a new file."""
    opened: list[FileLock] = []
    run.lock()
    real_open = os.open

    def open_then_lose_the_race(path: str, *args: int) -> int:
        descriptor = real_open(path, *args)
        if str(path).endswith(".lock") and not opened:
            opened.append(FileLock("run/.lock"))
            run.unlock()
            opened[0].acquire()
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_then_lose_the_race)
        with pytest.raises(RunInUseError, match=r"run is in use; wait"):
            Run(run.folder).lock()
    opened[0].release()


@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS", "ENOTSUP"])
def test_a_file_system_without_locks_gives_a_warning(
    run: Run, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(getattr(errno, code), "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    run.lock()
    assert "run: this file system has no locks; run only one command at a time there" in capsys.readouterr().err
    run.unlock()
    assert names(run) == []


@pytest.mark.parametrize("kind", ["link", "FIFO", "folder"])
def test_a_lock_file_that_is_not_a_regular_file_is_an_error(run: Run, kind: str) -> None:
    path, victim = run.folder / ".lock", Path("victim")
    victim.write_text("mine")
    if kind == "link":
        path.symlink_to(victim.absolute())
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError, match=r"^run/\.lock is not a regular file; remove it$"):
        run.lock()
    assert victim.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"pid": ', b"1" * 5000, b'{"pid": []}'])
def test_a_run_stays_locked_when_its_owner_file_is_damaged(run: Run, content: bytes) -> None:
    run.lock()
    (run.folder / ".owner.json").write_bytes(content)
    with pytest.raises(RunInUseError, match=r"^run is in use.*; wait until it ends"):
        Run(run.folder).lock()


def test_locking_a_missing_run_folder_is_an_error(run: Run) -> None:
    run.folder.rmdir()
    with pytest.raises(InputError, match=r"^there is no run folder run$"):
        run.lock()
    assert not run.folder.exists()


def test_discarding_a_run_releases_the_lock() -> None:
    run = Run.new(Path("checkpoints"), "digits")
    run.lock()
    run.discard_if_empty()
    assert not Path("checkpoints").exists()
