"""Distributed training in which one process crashes."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed

from litnets.runs.folder import Run
from litnets.training.resume import save_on_interrupt
from litnets.training.resume.save_on_interrupt import SaveOnInterrupt
from litnets.training.signals import Signals
from tests.conftest import CONFIGS, ROOT
from tests.stress.interruptions import batches_done, difference, in_process, outcome

BATCHES = 9  # per epoch, in each of two processes
TWO = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--trainer.max_epochs", "3", "--figures", "false"]
TWO += ["--model.hidden_layer_sizes", "[8]", "--model.batch_norm", "true"]
TWO += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]


def litnets(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command; it must not hang."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    command = [sys.executable, "-m", "litnets", *args]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": path}
    )


def crash(runs_dir: str, hook: str, rank: int, count: int) -> tuple[Path, str]:
    """Train, and crash one process in the n-th call of a hook. Return the run folder and stderr."""
    callback = ["--trainer.callbacks+", "tests.helpers.interrupting.InterruptAt", "--trainer.callbacks.hook", hook]
    callback += ["--trainer.callbacks.count", str(count), "--trainer.callbacks.rank", str(rank)]
    done = litnets("fit", *TWO, "--runs_dir", runs_dir, "--checkpoint.every_n_steps", "4", *callback)
    (config,) = Path(runs_dir).glob("*/*/config.yaml")
    # 1, or killed by Lightning, which does so some seconds after another process has exited.
    assert done.returncode in (1, -9), done.stderr
    assert done.returncode == 1 or rank == 1
    assert "RuntimeError: crash" in done.stderr
    return config.parent, done.stderr


def crash_second_rank(positions: list[tuple[int, int] | None], responds: bool) -> int:
    """Run one of two ranks, and write how it ends to a file.

    The second rank crashes in its forward pass. The first one reaches its backward pass if it `responds`; otherwise it
    waits in a barrier.
    """
    rank = int(os.environ["LOCAL_RANK"])
    events: list[str] = []
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    checkpoint: Any = SimpleNamespace(resume_point=lambda _: positions[rank])
    checkpoint.save_mid_epoch = lambda _: events.append("saved") is None
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0, global_step=0, current_epoch=0)
    module: Any = SimpleNamespace(automatic_optimization=True)
    callback = SaveOnInterrupt(Run(Path("run")), Signals(), checkpoint)
    callback.on_train_start(trainer, module)
    trainer.global_step = 1
    callback.on_train_batch_start(trainer, module, None, 0)
    error = RuntimeError("crash")
    if rank == 0:
        try:
            callback.on_before_backward(trainer, module, torch.tensor(0.0)) if responds else distributed.barrier()
        except RuntimeError as raised:
            error = raised
    callback.on_exception(trainer, module, error)
    Path(f"{rank}.txt").write_text(" ".join([*events, type(error).__name__, str(error)]))
    return 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("positions", "responds", "saved"),
    [
        ([(1, 5), (1, 5)], True, True),
        ([(1, 5), (1, 6)], True, False),
        ([None, (1, 5)], True, False),
        ([(1, 5), (1, 5)], False, False),
    ],
)
def test_ranks_at_the_same_batch_save(
    positions: list[tuple[int, int] | None], responds: bool, saved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_on_interrupt, "_PATIENCE", timedelta(seconds=60 if responds else 1))
    in_process(lambda: crash_second_rank(positions, responds), 2)
    first, second = (Path(f"{rank}.txt").read_text() for rank in range(2))
    assert second == ("saved " if saved else "") + "RuntimeError crash"
    if responds:
        assert first == ("saved " if saved else "") + "PeerProcessError process 1 crashed: RuntimeError: crash"
    else:
        assert first.startswith("RuntimeError ")


def test_a_signal_during_synchronization_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = SimpleNamespace(world_size=2, global_step=0)
    module: Any = SimpleNamespace(automatic_optimization=True)
    monkeypatch.setattr(distributed, "new_group", lambda **_: "all")
    with Signals() as signals:
        monkeypatch.setattr(distributed, "all_reduce", lambda *_: setattr(signals, "received", signal.SIGTERM))
        callback = SaveOnInterrupt(Run(Path("run")), signals, None)
        callback.on_train_start(trainer, module)
        callback.on_train_batch_start(trainer, module, None, 0)
        assert signals.received == signal.SIGTERM


@pytest.mark.slow
def test_a_run_with_a_crashed_rank_resumes_at_the_same_batch() -> None:
    uninterrupted = litnets("fit", *TWO, "--runs_dir", "uninterrupted", "--checkpoint.every_n_steps", "4")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    (config,) = Path("uninterrupted").glob("*/*/config.yaml")
    expected = outcome(config.parent)
    batch = 2 * BATCHES + 5  # no scheduled save at this batch
    for hook, rank in (("on_before_backward", 0), ("on_before_backward", 1), ("on_train_batch_start", 1)):
        case = f"{hook}_{rank}"
        run, stderr = crash(case, hook, rank, batch + 1)
        assert f"litnets: saved {run / 'last.ckpt'} (epoch 3, step {batch})" in stderr
        assert f"resume with: litnets resume {run}" in stderr
        assert batches_done(run) == batch
        assert (f"litnets: process {rank} crashed: RuntimeError: crash" in stderr) == (rank != 0), (
            "the first rank must report why"
        )
        resumed = litnets("resume", str(run))
        assert resumed.returncode == 0, resumed.stderr
        assert "resuming at epoch 3, batch 6" in resumed.stdout
        assert difference(outcome(run), expected) is None, case


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "count", "batch"),
    [("on_after_backward", 8, 4), ("on_before_optimizer_step", 8, 4), ("on_validation_batch_start", 3, 16)],
)
def test_a_crash_while_other_ranks_wait_resumes_from_the_last_save(hook: str, count: int, batch: int) -> None:
    run, stderr = crash("runs", hook, 1, count)
    assert "litnets: saved" not in stderr
    assert batches_done(run) == batch
    assert f"resume with: litnets resume {run}" in stderr
