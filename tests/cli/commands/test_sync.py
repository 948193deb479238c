import subprocess
import sys
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.cli.commands.sync import offline_runs
from litnets.errors import InputError


def test_sync_gives_wandb_the_attempts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path("checkpoints/digits/first")
    for name in ("offline-run-2-abc", "offline-run-1-abc", "run-3-abc", "files"):
        (run / "wandb" / name).mkdir(parents=True)
    called = []

    def call(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 5)

    monkeypatch.setattr(subprocess, "run", call)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert main(["sync", str(run)]) == 5
    attempts = [str(run / "wandb" / name) for name in ("offline-run-1-abc", "offline-run-2-abc")]
    assert called == [[sys.executable, "-m", "wandb", "sync", *attempts]]


def test_a_folder_without_an_offline_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sync", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("litnets: sync nowhere: no such folder; expected the folder of a run")
    with pytest.raises(InputError, match="holds no offline W&B run"):
        offline_runs(tmp_path)


def test_without_a_login(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run/wandb/offline-run-1-abc").mkdir(parents=True)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "no-such-file")
    assert main(["sync", "run"]) == 2
    message = "litnets: sync: not logged in to W&B at https://api.wandb.ai; run `wandb login`, or set WANDB_API_KEY\n"
    assert capsys.readouterr().err == message


def test_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "a" * 300]) == 2
    assert capsys.readouterr().err.endswith(": File name too long\n")


def test_a_name_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "\x1b[2J"]) == 2
    assert "sync \\x1b[2J: no such folder" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--help"]) == 0
    assert main(["sync"]) == 2
    assert capsys.readouterr().out.count("usage: litnets sync RUN...") == 2


def test_it_imports_no_torch() -> None:
    check = "sys.exit(bool({'torch', 'lightning'} & set(sys.modules)))"
    code = f"import sys; from litnets.__main__ import main; main(['sync', 'nowhere']); {check}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
