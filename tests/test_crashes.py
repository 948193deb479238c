"""Trainings of several processes, of which one crashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CONFIGS
from tests.interruptions import batches_done, difference, outcome

BATCHES = 9  # of an epoch, in each of two processes
TWO = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--trainer.max_epochs", "3", "--figures", "false"]
TWO += ["--model.hidden_layer_sizes", "[8]", "--model.batch_norm", "true"]
TWO += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]


def litnets(*args: str) -> subprocess.CompletedProcess[str]:
    """Runs the command, which must not hang."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parent.parent))))
    command = [sys.executable, "-m", "litnets", *args]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"PYTHONPATH": path}
    )


def crash(runs_dir: str, hook: str, rank: int, count: int) -> tuple[Path, str]:
    """A run, one process of which has crashed in a hook's n-th call; its folder and what it said."""
    callback = ["--trainer.callbacks+", "tests.interrupting.At", "--trainer.callbacks.hook", hook]
    callback += ["--trainer.callbacks.count", str(count), "--trainer.callbacks.rank", str(rank)]
    done = litnets("fit", *TWO, "--runs_dir", runs_dir, "--checkpoint.every_n_steps", "4", *callback)
    (config,) = Path(runs_dir).glob("*/*/config.yaml")
    # 1, or killed by Lightning, which does so some seconds after the end of another process.
    assert done.returncode in (1, -9), done.stderr
    assert done.returncode == 1 or rank == 1
    assert "RuntimeError: crash" in done.stderr
    return config.parent, done.stderr


@pytest.mark.slow
def test_a_crash_of_one_process_goes_on_from_the_very_batch() -> None:
    whole = litnets("fit", *TWO, "--runs_dir", "whole", "--checkpoint.every_n_steps", "4")
    assert whole.returncode == 0, whole.stderr
    (config,) = Path("whole").glob("*/*/config.yaml")
    expected = outcome(config.parent)
    batch = 2 * BATCHES + 5  # no save is due there
    for hook, rank in (("on_before_backward", 0), ("on_before_backward", 1), ("on_train_batch_start", 1)):
        case = f"{hook}_{rank}"
        run, said = crash(case, hook, rank, batch + 1)
        assert f"litnets: saved {run / 'last.ckpt'} (epoch 3, step {batch})" in said
        assert f"go on with: litnets resume {run}" in said
        assert batches_done(run) == batch
        assert (f"litnets: process {rank} crashed: RuntimeError: crash" in said) == (rank != 0), "the first says why"
        resumed = litnets("resume", str(run))
        assert resumed.returncode == 0, resumed.stderr
        assert "going on from epoch 3, batch 6" in resumed.stdout
        assert difference(outcome(run), expected) is None, case


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "count", "batch"),
    [("on_after_backward", 8, 4), ("on_before_optimizer_step", 8, 4), ("on_validation_batch_start", 3, 16)],
)
def test_a_crash_where_the_others_wait_goes_on_from_the_last_save(hook: str, count: int, batch: int) -> None:
    run, said = crash("runs", hook, 1, count)
    assert "litnets: saved" not in said
    assert batches_done(run) == batch
    assert f"go on with: litnets resume {run}" in said
