"""Trainings that are stopped or crash, and what they leave behind."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from litnets.__main__ import main
from litnets.callbacks import Interruption
from litnets.run import Run
from litnets.signals import Signals, Stop
from tests.conftest import CONFIGS
from tests.interrupting import At, at

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
        "validating": loops["epoch_loop.val_loop.batch_progress"]["current"],
    }


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_after_the_running_batch(signum: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*at("on_train_batch_start", 3, signum)) == code
    run = the_run()
    assert saved(run)["step"] == saved(run)["batches"] == 3
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"litnets: saved {run.last} (epoch 1, step 3)",
        f"litnets: go on with: litnets resume {run.folder}",
    ]
    assert not run.best.exists(), "what was stopped is not the best"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "the signals were not given back"


@pytest.mark.parametrize(
    ("hook", "count", "step", "epochs"),
    [
        ("on_train_batch_start", BATCHES, 5, 0),  # in the epoch's validation
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
    assert saved(the_run()) | {"validating": None} == {"step": 1, "batches": 3, "epochs": 0, "validating": None}


@pytest.mark.parametrize("signum", [signal.SIGTERM, 0])
def test_a_validation_that_was_interrupted_starts_anew(signum: int) -> None:
    # The sanity check has two batches; the third is the epoch's first one, so the fourth is in its middle.
    options = ["--data.eval_batch_size", "64", *at("on_validation_batch_start", 4, signum)]
    if signum:
        assert fit(*options) == 143
    else:
        with pytest.raises(RuntimeError, match="crash"):
            fit(*options)
    assert saved(the_run())["validating"] == {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    assert saved(the_run())["step"] == saved(the_run())["batches"] == BATCHES


def test_a_crash_saves_the_last_whole_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(*at("on_before_backward", 4))
    assert saved(the_run())["step"] == saved(the_run())["batches"] == 3
    assert "litnets resume" in capsys.readouterr().err


def test_a_crash_among_gathered_gradients() -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit("--trainer.accumulate_grad_batches", "2", *at("on_before_backward", 4))
    assert saved(the_run()) | {"validating": None} == {"step": 1, "batches": 2, "epochs": 0, "validating": None}


def test_nothing_is_saved_where_nothing_is_to_be_saved() -> None:
    assert fit("--trainer.enable_checkpointing", "false", *at("on_train_batch_start", 2, signal.SIGTERM)) == 143
    assert not the_run().checkpoints()


class Watched(LightningModule):
    """Writes down which batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[str] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(f"t{batch_idx}")
        return ((self.weight - batch) ** 2).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(f"v{batch_idx}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(
    ("hook", "count", "accumulate", "before", "after"),
    [
        ("on_validation_batch_end", 2, 1, "t0 t1 t2 t3 v0 v1", "v0 v1 v2 t0 t1 t2 t3 v0 v1 v2"),
        ("on_train_batch_start", 2, 1, "t0", "t1 t2 t3 v0 v1 v2 t0 t1 t2 t3 v0 v1 v2"),
        ("on_before_backward", 4, 2, "t0 t1 t2 t3", "t2 t3 v0 v1 v2 t0 t1 t2 t3 v0 v1 v2"),
        ("on_train_batch_start", 4, 3, "t0 t1 t2", "t3 v0 v1 v2 t0 t1 t2 t3 v0 v1 v2"),
    ],
)
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader'|The 'val_dataloader'|The number of training batches")
def test_what_was_saved_is_gone_on_with(
    tmp_path: Path, hook: str, count: int, accumulate: int, before: str, after: str
) -> None:
    loaders = [DataLoader(torch.ones(n, 1), batch_size=1) for n in (4, 3)]
    run = Run(tmp_path)

    def train(*callbacks: Any, **options: Any) -> Watched:
        module = Watched()
        trainer = Trainer(
            max_epochs=2,
            num_sanity_val_steps=0,
            accumulate_grad_batches=accumulate,
            callbacks=[*callbacks, Interruption(run, Signals())],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            accelerator="cpu",
        )
        try:
            trainer.fit(module, *loaders, **options)
        except (RuntimeError, Stop):
            assert callbacks
        else:
            assert not callbacks
            # 4 batches an epoch, the last of which always steps
            assert trainer.global_step == 2 * -(-4 // accumulate)
            assert trainer.fit_loop.epoch_loop._batches_that_stepped == trainer.global_step
        return module

    assert train(At(hook, count)).seen == before.split()
    whole, resumed = train(), train(ckpt_path=run.last)
    assert resumed.seen == after.split()
    assert torch.equal(whole.weight, resumed.weight)


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
    assert "job 4711 is queued again" in capsys.readouterr().err
    assert json.loads(the_run().environment.read_text())["slurm_job_id"] == "4711"
    run, experiment = the_run(), the_run().folder.parent.name
    assert Run.requeued(Path("checkpoints"), experiment) is None, "the first start is no restart"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = Run.requeued(Path("checkpoints"), experiment)
    assert again is not None
    assert again.folder == run.folder


def test_a_job_that_cannot_be_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requeue(tmp_path, monkeypatch, 1)
    assert fit(*at("on_train_batch_start", 3, signal.SIGUSR1)) == 128 + signal.SIGUSR1
    assert "job 4711 could not be queued again: scontrol: no such job" in capsys.readouterr().err
    assert the_run().last.exists()
