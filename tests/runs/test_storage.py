"""A damaged file of a run is reported in one line that names it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.storage import read_json, write_json, write_text
from tests.safety.test_files import make_special

DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "truncated": b'{"attempts": [{"config"',
    "not UTF-8": b'{"attempts": "\xff"}',
    "null bytes": b"\0" * 100,
    "a list": b"[]",
    "a string": b'"attempts"',
    "a number": b"1",
    "null": b"null",
    "a number of 5,000 digits": b'{"attempts": ' + b"9" * 5000 + b"}",
    "nested too deeply": b'{"attempts": ' + b"[" * 100_000,
}
WRONG_TYPES = {
    "no attempts": b"{}",
    "attempts are a string": b'{"attempts": "abc"}',
    "attempts are a number": b'{"attempts": 1e999}',
    "attempts are an object": b'{"attempts": {"0": {}}}',
    "attempts are empty": b'{"attempts": []}',
    "an attempt is a string": b'{"attempts": [{}, "abc"]}',
}


@pytest.fixture
def run() -> Run:
    Path("run").mkdir()
    return Run(Path("run"))


def assert_one_line(error: pytest.ExceptionInfo[InputError], path: Path) -> None:
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_json_file_is_reported_and_kept(run: Run, content: bytes) -> None:
    run.results.write_bytes(content)
    with pytest.raises(InputError) as error:
        run.update_results(epochs=1)
    assert_one_line(error, run.results)
    assert "is damaged (" in str(error.value)
    assert run.results.read_bytes() == content


@pytest.mark.parametrize("content", [*DAMAGE.values(), *WRONG_TYPES.values()], ids=[*DAMAGE, *WRONG_TYPES])
def test_a_damaged_environment_is_reported_before_anything_is_written(run: Run, content: bytes) -> None:
    run.environment.write_bytes(content)
    with pytest.raises(InputError) as error:
        run.add_attempt("config", {})
    assert_one_line(error, run.environment)
    assert [path.name for path in run.folder.iterdir()] == ["environment.json"]


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "folder"])
@pytest.mark.parametrize("use", [lambda run: run.add_attempt("", {}), Run.read_results], ids=["environment", "results"])
def test_special_files_are_not_read(run: Run, kind: str, use: Callable[[Run], object]) -> None:
    for path in (run.environment, run.results):
        make_special(kind, path)
    with pytest.raises(InputError, match=rf"^run/(environment|results)\.json is a {kind}; expected a regular file$"):
        use(run)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_an_unreadable_file_is_reported(run: Run) -> None:
    write_json(run.results, {})
    run.results.chmod(0)
    with pytest.raises(InputError, match=r"^run/results\.json cannot be read: Permission denied$"):
        read_json(run.results)


def test_a_deleted_run_folder_is_reported(run: Run) -> None:
    run.folder.rmdir()
    with pytest.raises(InputError, match=r"^run/results\.json cannot be written: the folder is gone$"):
        run.update_results(epochs=1)


def test_a_full_disk_is_reported_and_the_old_file_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(run.config, "old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"^run/config\.yaml cannot be written: No space left on device$"):
        run.write(run.config, "new")
    assert [(path.name, path.read_text()) for path in run.folder.iterdir()] == [("config.yaml", "old")]
