import re
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.progress import (
    EpochSummary,
    NotebookProgressBar,
    TrainingProgressBar,
    choose_progress_bar,
    monitored_metric,
)

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

SCORES = (0.5, 0.7, 0.6, 0.9)


class Scripted(LightningModule):
    """A module that logs predetermined scores."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).mean()

    def on_train_epoch_end(self):
        self.log("train/loss", 10.0 + self.current_epoch)

    def validation_step(self, batch, batch_idx):
        self.log("val/score", SCORES[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(tmp_path, callbacks, epochs=4):
    loader = DataLoader(TensorDataset(torch.ones(2, 2), torch.ones(2)))
    trainer = Trainer(
        accelerator="cpu", logger=False, max_epochs=epochs, enable_model_summary=False, callbacks=callbacks,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks), default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Scripted(), loader, loader)
    return trainer


def checkpoint(mode="max"):
    return Checkpoint(monitor="val/score", mode=mode)


@pytest.mark.parametrize(("mode", "best"), [("max", [0, 1, 3]), ("min", [0])])
def test_one_line_per_epoch(tmp_path, capsys, mode, best):
    fit(tmp_path, [EpochSummary(), checkpoint(mode)])
    lines = [re.sub(r"\d+\.\d s", "S s", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"epoch {i + 1}/4  train/loss {10 + i:.4f}  val/score {SCORES[i]:.4f}  S s{'  *' if i in best else ''}"
        for i in range(4)
    ]


def test_lines_have_no_star_without_checkpoints(tmp_path, capsys):
    fit(tmp_path, [EpochSummary()], epochs=2)
    assert [line.split()[1:4] for line in capsys.readouterr().out.splitlines()] == [
        ["1/2", "train/loss", "10.0000"],
        ["2/2", "train/loss", "11.0000"],
    ]


def test_epoch_numbers_are_aligned(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SCORES", [0.5] * 10)
    fit(tmp_path, [EpochSummary()], epochs=10)
    starts = [line[:11] for line in capsys.readouterr().out.splitlines()]
    assert starts[0] == "epoch  1/10"
    assert starts[9] == "epoch 10/10"


def test_monitored_metric(tmp_path):
    assert monitored_metric(fit(tmp_path, [checkpoint(), EpochSummary()], epochs=1)) == "val/score"
    assert monitored_metric(fit(tmp_path, [EpochSummary()], epochs=1)) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        (
            {"train/loss": 2.0, "val/score": 0.5, "val/loss": 1.0, "val/f1": 0.1},
            {"train/loss": "2.0000", "val/score": "0.5000", "val/loss": "1.0000"},
        ),
        ({"train/loss": 2.0, "train/loss_step": 0.12345}, {"train/loss_step": "0.1235"}),
    ],
)
def test_progress_bar_metrics(tmp_path, values, expected):
    metrics = {name: torch.tensor(value) for name, value in values.items()}
    trainer = SimpleNamespace(callback_metrics=metrics, checkpoint_callbacks=[checkpoint()])
    assert TrainingProgressBar().get_metrics(trainer, None) == expected


def test_progress_bar_is_printed(tmp_path, capsys):
    fit(tmp_path, [TrainingProgressBar(refresh_rate=1), checkpoint()], epochs=2)
    assert "Epoch 2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("is_terminal", "is_interactive", "expected"),
    [(True, True, TrainingProgressBar), (False, True, NotebookProgressBar), (False, False, EpochSummary)],
)
def test_the_progress_bar_fits_where_the_output_goes(monkeypatch, is_terminal, is_interactive, expected):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    if is_interactive:
        monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    assert type(choose_progress_bar()) is expected


def test_the_bar_of_a_notebook_shows_the_metrics(tmp_path, capsys):
    fit(tmp_path, [NotebookProgressBar(refresh_rate=1), checkpoint()], epochs=1)
    out = capsys.readouterr().out
    assert "val/score=0.5000" in out
    assert "Epoch 1/1" in out
