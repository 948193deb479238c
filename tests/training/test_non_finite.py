"""Non-finite losses and weights."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from litnets import MLPClassifier
from litnets.__main__ import main
from litnets.runs.folder import Run
from litnets.training.non_finite import NotFiniteError, StopOnNonFinite
from tests.helpers.interrupting import make_non_finite
from tests.training.resume.test_save_on_interrupt import TWO_EPOCHS, the_run

OPTIONS = [*TWO_EPOCHS, "--trainer.logger", "null", "--trainer.log_every_n_steps", "4"]


def fit_error(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["fit", *OPTIONS, *options]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2, err
    return err


@pytest.mark.parametrize("what", ["weight", "batch"])
def test_training_stops_within_the_logging_interval(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = fit_error(capsys, *make_non_finite(2, what))
    assert err.startswith("litnets: step 2: the loss is nan; step 4: net.layers.1.weight and 3 more parameters are not")
    assert "no checkpoint was saved yet" in err
    assert not the_run().checkpoints()
    rows = csv.DictReader(the_run().metrics.read_text().splitlines())
    assert max(int(row["step"]) for row in rows) < 4


def test_the_last_finite_checkpoint_is_reported_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    err = fit_error(capsys, *make_non_finite(7), "--checkpoint.every_n_steps", "5")
    assert err.startswith("litnets: step 7: the loss is nan; step 8: ")
    run = the_run()
    assert f"the last good checkpoint is {run.last};" in err
    for path in (run.best, run.last):
        content = torch.load(path, weights_only=True)
        assert content["global_step"] == 5
        assert all(value.isfinite().all() for value in content["state_dict"].values())


@pytest.mark.parametrize("weights_only", ["true", "false"])
def test_no_checkpoint_is_saved_between_two_checks(weights_only: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.log_every_n_steps", "1000", "--trainer.callbacks+", "ModelCheckpoint"]
    options += ["--trainer.callbacks.every_n_train_steps", "3", "--trainer.callbacks.dirpath", "other"]
    options += ["--trainer.callbacks.filename", "often", "--trainer.callbacks.save_weights_only", weights_only]
    assert "step 2: the loss is nan" in fit_error(capsys, *options, *make_non_finite(2))
    assert not list(Path("other").glob("*"))
    assert not the_run().checkpoints()


def test_only_the_validation_loss_is_not_finite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MLPClassifier.loss

    def loss(self: MLPClassifier, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return original(self, outputs, targets) * (1 if self.training else float("nan"))

    monkeypatch.setattr(MLPClassifier, "loss", loss)
    assert "epoch 1, step 5: val/loss is nan, while all weights are finite" in fit_error(capsys)
    assert not the_run().checkpoints()


def test_large_weights_are_finite(tmp_path: Path) -> None:
    model = MLPClassifier(input_shape=(2,), num_classes=2)
    with torch.no_grad():
        next(iter(model.parameters())).fill_(3e38)  # the sum of squares overflows
    callback = StopOnNonFinite(Run(tmp_path))
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    callback._check(trainer, model)
    with torch.no_grad():
        list(model.parameters())[-1][1] = float("inf")
    with pytest.raises(NotFiniteError, match="is not finite"):
        callback._check(trainer, model)
