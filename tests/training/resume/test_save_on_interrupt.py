"""Interrupted and crashed runs, and the checkpoints they save."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from litnets.__main__ import main
from litnets.runs.folder import Run
from tests.conftest import CONFIGS
from tests.helpers.interrupting import at

BATCHES = 5  # per epoch
TWO_EPOCHS = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--trainer.max_epochs", "2"]
TWO_EPOCHS += ["--model.hidden_layer_sizes", "[8]", "--data.batch_size", "256", "--trainer.logger", "false"]


def fit(*options: str) -> int:
    return main(["fit", *TWO_EPOCHS, *options])


def the_run() -> Run:
    (folder,) = Path("checkpoints").glob("*/*")
    return Run(folder)


def saved_progress(run: Run) -> dict[str, Any]:
    """The numbers of steps, batches and epochs in last.ckpt."""
    content = torch.load(run.last, weights_only=True)
    loops = content["loops"]["fit_loop"]
    return {
        "step": content["global_step"],
        "batches": loops["epoch_loop.batch_progress"]["current"]["completed"],
        "epochs": loops["epoch_progress"]["current"]["completed"],
    }


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_after_the_current_batch(signum: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*at("on_train_batch_start", 3, signum)) == code
    run = the_run()
    assert saved_progress(run)["step"] == saved_progress(run)["batches"] == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"litnets: saved {run.last} (epoch 1, step 3)",
        f"litnets: resume with: litnets resume {run.folder}",
    ]
    assert not run.best.exists(), "an interrupted epoch must not be saved as the best"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "the signal handlers were not restored"


@pytest.mark.parametrize(
    ("hook", "count", "step", "epochs"),
    [
        ("on_train_batch_start", BATCHES, 5, 1),
        ("on_validation_end", 2, 5, 1),  # the first call is the sanity check
        ("on_train_end", 1, 10, 2),
        ("on_test_batch_start", 1, 10, 2),
    ],
)
def test_a_signal_at_the_end_of_an_epoch_training_or_test(hook: str, count: int, step: int, epochs: int) -> None:
    assert fit(*at(hook, count, signal.SIGTERM)) == 143
    assert saved_progress(the_run())["step"] == step
    assert the_run().results.exists() == (epochs == 2), "results.json is written once training is complete"
    assert epochs == 2 or saved_progress(the_run())["epochs"] == epochs


def test_a_signal_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*at("on_validation_batch_start", 1, signal.SIGINT)) == 130
    assert not the_run().checkpoints()
    assert capsys.readouterr().err == ""


def test_gradient_accumulation_is_completed_before_saving() -> None:
    assert fit("--trainer.accumulate_grad_batches", "3", *at("on_train_batch_start", 2, signal.SIGTERM)) == 143
    assert saved_progress(the_run()) == {"step": 1, "batches": 3, "epochs": 0}


def test_validation_is_completed_before_saving() -> None:
    # The sanity check has two batches, so the fourth call is in the middle of the first epoch's validation.
    assert fit("--data.eval_batch_size", "64", *at("on_validation_batch_start", 4, signal.SIGTERM)) == 143
    assert saved_progress(the_run())["step"] == BATCHES
    assert saved_progress(the_run())["epochs"] == 1


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_backward"])
def test_a_crash_saves_the_last_complete_step(hook: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(*at(hook, 4))
    assert saved_progress(the_run())["step"] == saved_progress(the_run())["batches"] == 3
    assert "litnets resume" in capsys.readouterr().err


def test_a_crash_during_gradient_accumulation_saves_nothing() -> None:
    """The gradients are incomplete, so the run resumes from the previous save."""
    with pytest.raises(RuntimeError, match="crash"):
        fit("--trainer.accumulate_grad_batches", "2", *at("on_before_optimizer_step", 2))
    assert not the_run().last.exists()


def test_a_signal_saves_nothing_if_checkpointing_is_disabled() -> None:
    assert fit("--trainer.enable_checkpointing", "false", *at("on_train_batch_start", 2, signal.SIGTERM)) == 143
    assert not the_run().checkpoints()


def fake_scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    """Pretend to be a SLURM job, with an `scontrol` that records its arguments in the returned file."""
    arguments = tmp_path / "scontrol.txt"
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {arguments}\necho no such job >&2\nexit {code}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return arguments


def test_a_slurm_job_is_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = fake_scontrol(tmp_path, monkeypatch, 0)
    assert fit(*at("on_train_batch_start", 3, signal.SIGUSR1)) == 0
    assert arguments.read_text() == "requeue 4711\n"
    assert saved_progress(the_run())["step"] == 3
    assert "job 4711 is requeued" in capsys.readouterr().err
    assert json.loads(the_run().environment.read_text())["slurm_job_id"] == "4711"
    run, experiment = the_run(), the_run().folder.parent.name
    assert Run.requeued(Path("checkpoints"), experiment) is None, "the first start of a job is not a restart"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    requeued = Run.requeued(Path("checkpoints"), experiment)
    assert requeued is not None
    assert requeued.folder == run.folder
    assert main(["fit", *TWO_EPOCHS]) == 0, "the same command resumes that run"
    assert saved_progress(the_run())["step"] == 2 * BATCHES


def test_a_slurm_job_that_cannot_be_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_scontrol(tmp_path, monkeypatch, 1)
    assert fit(*at("on_train_batch_start", 3, signal.SIGUSR1)) == 128 + signal.SIGUSR1
    assert "job 4711 could not be requeued: scontrol: no such job" in capsys.readouterr().err
    assert the_run().last.exists()
