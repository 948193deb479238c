"""Trainings that are stopped or crash, and what they leave behind."""

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

BATCHES = 5  # of an epoch
TWO_EPOCHS = ["--config", str(CONFIGS / "digits_mlp.yaml"), "--trainer.max_epochs", "2"]
TWO_EPOCHS += ["--model.hidden_layer_sizes", "[8]", "--data.batch_size", "256", "--trainer.logger", "false"]


def fit(*options: str) -> int:
    return main(["fit", *TWO_EPOCHS, *options])


def the_run() -> Run:
    (folder,) = Path("checkpoints").glob("*/*")
    return Run(folder)


def saved(run: Run) -> dict[str, Any]:
    """The counts of last.ckpt."""
    content = torch.load(run.last, weights_only=True)
    loops = content["loops"]["fit_loop"]
    return {
        "step": content["global_step"],
        "batches": loops["epoch_loop.batch_progress"]["current"]["completed"],
        "epochs": loops["epoch_progress"]["current"]["completed"],
    }


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_after_the_running_batch(signum: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*at("on_train_batch_start", 3, signum)) == code
    run = the_run()
    assert saved(run)["step"] == saved(run)["batches"] == 3
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"litnets: saved {run.last} (epoch 1, step 3)",
        f"litnets: resume with: litnets resume {run.folder}",
    ]
    assert not run.best.exists(), "what was stopped is not the best"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "the signals were not given back"


@pytest.mark.parametrize(
    ("hook", "count", "step", "epochs"),
    [
        ("on_train_batch_start", BATCHES, 5, 1),
        ("on_validation_end", 2, 5, 1),  # the sanity check's is the first
        ("on_train_end", 1, 10, 2),
        ("on_test_batch_start", 1, 10, 2),
    ],
)
def test_a_signal_at_an_end(hook: str, count: int, step: int, epochs: int) -> None:
    assert fit(*at(hook, count, signal.SIGTERM)) == 143
    assert saved(the_run())["step"] == step
    assert the_run().results.exists() == (epochs == 2), "the training was whole"
    assert epochs == 2 or saved(the_run())["epochs"] == epochs


def test_a_signal_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*at("on_validation_batch_start", 1, signal.SIGINT)) == 130
    assert not the_run().checkpoints()
    assert capsys.readouterr().err == ""


def test_gradients_are_not_left_half_gathered() -> None:
    assert fit("--trainer.accumulate_grad_batches", "3", *at("on_train_batch_start", 2, signal.SIGTERM)) == 143
    assert saved(the_run()) == {"step": 1, "batches": 3, "epochs": 0}


def test_a_validation_ends_first() -> None:
    # The sanity check has two batches; the third is the epoch's first one, so the fourth is in its middle.
    assert fit("--data.eval_batch_size", "64", *at("on_validation_batch_start", 4, signal.SIGTERM)) == 143
    assert saved(the_run())["step"] == BATCHES
    assert saved(the_run())["epochs"] == 1


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_backward"])
def test_a_crash_saves_the_last_whole_step(hook: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(*at(hook, 4))
    assert saved(the_run())["step"] == saved(the_run())["batches"] == 3
    assert "litnets resume" in capsys.readouterr().err


def test_a_crash_among_gathered_gradients_saves_nothing() -> None:
    """They are half gathered; the run goes on from what was saved before."""
    with pytest.raises(RuntimeError, match="crash"):
        fit("--trainer.accumulate_grad_batches", "2", *at("on_before_optimizer_step", 2))
    assert not the_run().last.exists()


def test_nothing_is_saved_where_nothing_is_to_be_saved() -> None:
    assert fit("--trainer.enable_checkpointing", "false", *at("on_train_batch_start", 2, signal.SIGTERM)) == 143
    assert not the_run().checkpoints()


def requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    """A job of SLURM, with an scontrol that writes down how it was called; where it does."""
    said = tmp_path / "scontrol.txt"
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {said}\necho no such job >&2\nexit {code}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return said


def test_a_job_of_slurm_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = requeue(tmp_path, monkeypatch, 0)
    assert fit(*at("on_train_batch_start", 3, signal.SIGUSR1)) == 0
    assert said.read_text() == "requeue 4711\n"
    assert saved(the_run())["step"] == 3
    assert "job 4711 is requeued" in capsys.readouterr().err
    assert json.loads(the_run().environment.read_text())["slurm_job_id"] == "4711"
    run, experiment = the_run(), the_run().folder.parent.name
    assert Run.requeued(Path("checkpoints"), experiment) is None, "the first start is no restart"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = Run.requeued(Path("checkpoints"), experiment)
    assert again is not None
    assert again.folder == run.folder
    assert main(["fit", *TWO_EPOCHS]) == 0, "the same command goes on with that run"
    assert saved(the_run())["step"] == 2 * BATCHES


def test_a_job_that_cannot_be_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requeue(tmp_path, monkeypatch, 1)
    assert fit(*at("on_train_batch_start", 3, signal.SIGUSR1)) == 128 + signal.SIGUSR1
    assert "job 4711 could not be requeued: scontrol: no such job" in capsys.readouterr().err
    assert the_run().last.exists()
