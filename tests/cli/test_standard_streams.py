"""Commands with closed standard streams, or with a reader that closes the pipe."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from litnets.cli import standard_streams
from litnets.training.checkpoints.loading import load_checkpoint
from tests.conftest import CONFIGS

FIT = [sys.executable, "-m", "litnets", "fit", "--config", str(CONFIGS / "digits_mlp.yaml"), "--figures", "false"]
FIT += ["--test_after_fit", "false", "--model.hidden_layer_sizes", "[4]", "--trainer.max_epochs"]


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "closed", ["<&- >&- 2>&-", *(pytest.param(c, marks=pytest.mark.slow) for c in (">&-", "2>&-", ">&- 2>&-"))]
)
def test_closed_streams(closed: str) -> None:
    done = shell(f"{shlex.join([*FIT, '1'])} {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = Path("checkpoints/digits_mlp").iterdir()
    for name in ("best.ckpt", "last.ckpt"):
        assert load_checkpoint(folder / name)["global_step"] > 0
    assert (folder / "metrics.csv").read_text().startswith("epoch,step,")


@pytest.mark.parametrize("stderr", ["", pytest.param("2>&1", marks=pytest.mark.slow)])
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
