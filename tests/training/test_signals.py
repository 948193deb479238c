"""Signal handling, and the exit codes of interrupted commands."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from litnets.training.signals import Signals, Stop, exit_code
from tests.conftest import CONFIGS


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_stop(signum: int) -> None:
    before = signal.getsignal(signum)
    with Signals() as signals, pytest.raises(Stop, match=signal.Signals(signum).name):
        send(signum)
    assert signals.received == signum
    assert signal.getsignal(signum) == before
    assert exit_code(signum) == 128 + signum


def test_while_deferred_the_first_signal_is_recorded_and_the_second_quits(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now, codes = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "_exit", codes.append)
    with Signals() as signals:
        signals.deferred = True
        send(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        now[0] += 0.5
        send(signal.SIGTERM)
        assert codes == [], "a signal forwarded by a launcher must not count as a second signal"
        now[0] += 1
        send(signal.SIGINT)
        assert codes == [130]
    assert capfd.readouterr().err.splitlines() == [
        "litnets: SIGTERM: stopping after this batch (press Ctrl-C again to quit immediately)",
        "litnets: SIGINT again: quitting without saving",
    ]


def test_in_a_program_the_second_signal_raises_stop_instead_of_ending_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Signals(exits=False) as signals:
        signals.deferred = True
        send(signal.SIGINT)
        now[0] += 2
        with pytest.raises(Stop, match="SIGINT"):
            send(signal.SIGINT)


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            send(signal.SIGINT)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 143)])
def test_workers_ignore_sigint_and_exit_on_sigterm(signum: int, code: int) -> None:
    with Signals():
        if (pid := os.fork()) == 0:
            send(signum)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def test_exit_code_of_other_ranks_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert exit_code(signal.SIGTERM) == 0


def start(*options: str) -> subprocess.Popen[str]:
    """Start an endless training run, and return once the first epoch is complete."""
    command = [sys.executable, "-m", "litnets", "fit", "--config", str(CONFIGS / "digits_mlp.yaml"), *options]
    command += ["--trainer.max_epochs", "100000", "--early_stopping.patience", "100000", "--trainer.logger", "false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            return process
    raise AssertionError(process.communicate()[1])


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    stderr = process.communicate(timeout=300)[1]
    return process.returncode, [line for line in stderr.splitlines() if line.startswith("litnets:")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_training(signum: int, code: int, workers: str) -> None:
    process = start("--data.num_workers", workers)
    process.send_signal(signum)
    returncode, messages = finish(process)
    assert returncode == code
    (last,) = Path("checkpoints").glob("*/*/last.ckpt")
    step = torch.load(last, weights_only=True)["global_step"]
    assert messages[1].startswith(f"litnets: saved {last} (epoch ")
    assert messages[1].endswith(f"step {step})")
    assert messages[2] == f"litnets: resume with: litnets resume {last.parent}"
    assert step >= 17


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["first", "second"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_processes_stop_after_the_same_batch(signum: int, code: int, rank: str) -> None:
    process = start("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    # The second rank is the child process that runs litnets; workers and trackers run other programs.
    (second,) = [int(pid) for pid in children if b"litnets" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(process.pid if rank == "first" else second, signum)
    returncode, messages = finish(process)
    assert returncode == code
    (last,) = Path("checkpoints").glob("*/*/last.ckpt")
    assert any(line.startswith(f"litnets: saved {last} ") for line in messages)
    assert len(messages) == len(set(messages)), "a message was printed twice"
    other = Path(f"/proc/{second}/cmdline")
    assert not other.exists() or not other.read_bytes(), (
        "the second rank is still running (a zombie has an empty cmdline)"
    )
