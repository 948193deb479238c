"""Signals, and the exit codes they end a command with."""

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
def test_a_signal_stops_where_the_program_stands(signum: int) -> None:
    before = signal.getsignal(signum)
    with Signals() as signals, pytest.raises(Stop, match=signal.Signals(signum).name):
        send(signum)
    assert signals.received == signum
    assert signal.getsignal(signum) == before
    assert exit_code(signum) == 128 + signum


def test_while_patient_the_first_is_noted_and_the_second_ends_at_once(
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
        assert codes == [], "a launcher that sends on what it got itself is no second signal"
        now[0] += 1
        send(signal.SIGINT)
        assert codes == [130]
    assert capfd.readouterr().err.splitlines() == [
        "litnets: SIGTERM: stopping after this batch (press Ctrl-C again to quit immediately)",
        "litnets: SIGINT again: quitting without saving",
    ]


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            send(signal.SIGINT)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 143)])
def test_a_worker_lives_through_a_ctrl_c_and_ends_when_it_is_told_to(signum: int, code: int) -> None:
    with Signals():
        if (pid := os.fork()) == 0:
            send(signum)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def test_other_processes_than_the_first_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert exit_code(signal.SIGTERM) == 0


def start(*options: str) -> subprocess.Popen[str]:
    """A training that does not end by itself, once it is in its second epoch."""
    command = [sys.executable, "-m", "litnets", "fit", "--config", str(CONFIGS / "digits_mlp.yaml"), *options]
    command += ["--trainer.max_epochs", "100000", "--early_stopping.patience", "100000", "--trainer.logger", "false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            return process
    raise AssertionError(process.communicate()[1])


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    said = process.communicate(timeout=300)[1]
    return process.returncode, [line for line in said.splitlines() if line.startswith("litnets:")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped(signum: int, code: int, workers: str) -> None:
    process = start("--data.num_workers", workers)
    process.send_signal(signum)
    found, said = finish(process)
    assert found == code
    (last,) = Path("checkpoints").glob("*/*/last.ckpt")
    step = torch.load(last, weights_only=True)["global_step"]
    assert said[1].startswith(f"litnets: saved {last} (epoch ")
    assert said[1].endswith(f"step {step})")
    assert said[2] == f"litnets: resume with: litnets resume {last.parent}"
    assert step >= 17


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "second"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_two_processes_stop_after_the_same_batch(signum: int, code: int, whom: str) -> None:
    process = start("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    # The other rank is the child that runs litnets; workers and trackers run something else.
    (second,) = [int(pid) for pid in children if b"litnets" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(process.pid if whom == "first" else second, signum)
    found, said = finish(process)
    assert found == code
    (last,) = Path("checkpoints").glob("*/*/last.ckpt")
    assert any(line.startswith(f"litnets: saved {last} ") for line in said)
    assert len(said) == len(set(said)), "said once"
    other = Path(f"/proc/{second}/cmdline")
    assert not other.exists() or not other.read_bytes(), "it still runs (one that is not yet waited for has no line)"
