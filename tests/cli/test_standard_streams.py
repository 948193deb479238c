"""Commands in other locales, with closed standard streams, or with a reader that closes the pipe."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from litnets.cli import standard_streams
from litnets.cli.standard_streams import set_output_encoding
from litnets.training.checkpoints.loading import load_checkpoint
from tests.conftest import CONFIGS

FIT = [sys.executable, "-m", "litnets", "fit", "--config", str(CONFIGS / "digits_mlp.yaml"), "--figures", "false"]
FIT += ["--test_after_fit", "false", "--model.hidden_layer_sizes", "[4]", "--trainer.max_epochs"]


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    done = shell(f"{shlex.join([*FIT, '1'])} {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = Path("checkpoints/digits_mlp").iterdir()
    for name in ("best.ckpt", "last.ckpt"):
        assert load_checkpoint(folder / name)["global_step"] > 0
    assert (folder / "metrics.csv").read_text().startswith("epoch,step,")


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["", "2>&1"])
def test_a_closed_pipe_ends_training_and_keeps_the_run(stderr: str) -> None:
    # The reader closes the pipe after the first line, before training prints the next one.
    done = shell(f"{shlex.join([*FIT, '500'])} {stderr} | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    (folder,) = Path("checkpoints/digits_mlp").iterdir()
    assert load_checkpoint(folder / "last.ckpt")["global_step"] > 0
    assert ".lock" not in os.listdir(folder)  # noqa: PTH208


def test_a_pipe_counts_as_broken_where_poll_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows."""
    monkeypatch.delattr(standard_streams.select, "poll")
    read, write = os.pipe()
    try:
        assert standard_streams._has_no_reader(write)
    finally:
        os.close(read)
        os.close(write)
    with Path("file").open("w") as file:
        assert not standard_streams._has_no_reader(file.fileno())


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", b"gr\xf6\xdfe ??"), ("ascii", b"gr??e ??"), ("utf-8", "größe 日本".encode())]
)
def test_characters_that_a_terminal_lacks(encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w", encoding=encoding))
    set_output_encoding()
    print("größe 日本", end="")
    sys.stdout.close()
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == shown


@pytest.mark.parametrize(("variable", "expected"), [(None, "größe 日本".encode()), ("ascii", b"gr??e ??")])
def test_a_file_is_utf8(variable: str | None, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if variable:
        monkeypatch.setenv("PYTHONIOENCODING", variable)
    with Path("log.txt").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        set_output_encoding()
        print("größe 日本", end="")
    assert Path("log.txt").read_bytes() == expected


@pytest.mark.slow
def test_files_are_utf8_in_every_locale() -> None:
    rows = "".join(f"{i % 7},{('klein', 'größer', '日本')[i % 3]}\n" for i in range(90))
    Path("table.csv").write_text(f"a,größe\n{rows}", encoding="utf-8")
    data = "data:\n  class_path: TableCSV\n  init_args: {path: table.csv, target: größe}\n"
    Path("config.yaml").write_text(f"model: MLPClassifier\ntrainer: {{max_epochs: 1}}\n{data}", encoding="utf-8")
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "WANDB_MODE": "disabled"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | locale
    command = [sys.executable, "-m", "litnets", "fit", "--config", "config.yaml", "--figures", "false"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr??er" in done.stdout
    (run,) = Path("checkpoints/config").iterdir()
    assert "target: größe" in (run / "config.yaml").read_text(encoding="utf-8")
    assert {"größer", "日本"} < set(json.loads((run / "results.json").read_bytes())["test_per_class"])
