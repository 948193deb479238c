"""The best epoch by the monitored metric, and by the loss among equal values."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.runs.folder import Run
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.selection import TieBreakingEarlyStopping

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


class Scripted(LightningModule):
    """A module that logs predetermined accuracies and losses."""

    def __init__(self, accuracies: list[float], losses: list[float]) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.accuracies, self.losses = accuracies, losses

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0]).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", self.accuracies[self.current_epoch])
        if self.losses:
            self.log("val/loss", self.losses[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(
    accuracies: list[float],
    losses: list[float],
    ckpt_path: Path | None = None,
    epochs: int | None = None,
    max_steps: int = -1,
    **stop: Any,
) -> tuple[Checkpoint, Any, int]:
    """Return the callbacks of a training, and its number of epochs."""
    checkpoint = Checkpoint("val/accuracy", "max")
    checkpoint.run = Run(Path.cwd())
    stopping = TieBreakingEarlyStopping("val/accuracy", mode="max", **stop)
    loader = DataLoader(TensorDataset(torch.ones(2, 2), torch.ones(2)))
    trainer = Trainer(
        accelerator="cpu", logger=False, max_epochs=epochs or len(accuracies), enable_model_summary=False,
        enable_progress_bar=False, callbacks=[stopping, checkpoint], max_steps=max_steps,
    )  # fmt: skip
    trainer.fit(Scripted(accuracies, losses), loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return checkpoint, stopping, trainer.current_epoch


def test_ties_go_to_the_lower_loss() -> None:
    checkpoint, stopping, _ = fit([0.5, 0.9, 0.9, 0.9, 0.8], [0.7, 0.9, 0.5, 0.6, 0.1])
    assert checkpoint.best_epoch == 2
    assert torch.load("best.ckpt", weights_only=True)["callbacks"]["Checkpoint"]["best_epoch"] == 2
    assert checkpoint.best_loss == stopping.best_loss == torch.tensor(0.5)


def test_ties_go_to_the_first_epoch_if_no_loss_is_logged() -> None:
    assert fit([0.5, 0.9, 0.9], [])[0].best_epoch == 1


@pytest.mark.parametrize(
    ("losses", "min_delta", "epochs"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.0, 6),  # the loss falls all the time
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.9], 0.0, 3),
        ([0.9, 0.8, 0.85, 0.85, 0.7, 0.6], 0.0, 4),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.01, 3),  # equal values are not better by min_delta
    ],
)
def test_early_stopping_waits_while_the_loss_falls(losses: list[float], min_delta: float, epochs: int) -> None:
    assert fit([0.9] * 6, losses, patience=2, min_delta=min_delta)[2] == epochs


def test_early_stopping_without_ties_equals_lightnings() -> None:
    accuracies = [0.5, 0.6, 0.55, 0.7, 0.65, 0.6, 0.8]
    loader = DataLoader(TensorDataset(torch.ones(2, 2), torch.ones(2)))
    expected = EarlyStopping("val/accuracy", mode="max", patience=2)
    trainer = Trainer(
        accelerator="cpu", logger=False, max_epochs=7, enable_model_summary=False, enable_progress_bar=False,
        enable_checkpointing=False, callbacks=[expected],
    )  # fmt: skip
    trainer.fit(Scripted(accuracies, [1.0] * 7), loader, loader)
    _, stopping, epochs = fit(accuracies, [1.0] * 7, patience=2)
    assert epochs == trainer.current_epoch == 6
    assert stopping.state_key == expected.state_key
    assert {**expected.state_dict(), "best_loss": stopping.best_loss} == stopping.state_dict()


def test_max_steps_within_the_first_epoch_is_no_error() -> None:
    """Nothing was validated, so that there is no metric to compare. An epoch has two steps."""
    checkpoint, stopping, _ = fit([0.9], [0.5], max_steps=1)
    assert checkpoint.best_epoch is None
    assert stopping.wait_count == 0


def test_the_best_loss_is_restored() -> None:
    accuracies, losses = [0.9, 0.9, 0.9, 0.9], [0.5, 0.6, 0.4, 0.7]
    fit(accuracies, losses, epochs=2)
    checkpoint, stopping, _ = fit(accuracies, losses, ckpt_path=Path("last.ckpt"))
    assert checkpoint.best_epoch == 2
    assert stopping.wait_count == 1
    assert stopping.best_loss == checkpoint.best_loss == torch.tensor(0.4)


def test_checkpoints_without_a_best_loss_keep_the_first_of_equal_epochs() -> None:
    fit([0.9, 0.9], [0.5, 0.4], epochs=1)
    content = torch.load("last.ckpt", weights_only=True)
    for state in content["callbacks"].values():
        del state["best_loss"]
    torch.save(content, "last.ckpt")
    checkpoint, stopping, _ = fit([0.9, 0.9], [0.5, 0.4], ckpt_path=Path("last.ckpt"))
    assert checkpoint.best_epoch == 0
    assert stopping.wait_count == 1
