import itertools
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.runs.folder import Run
from litnets.tasks import Classifier
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.results_writer import WriteResults

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


def fit(tmp_path, **trainer_options):
    run = Run(tmp_path)
    loader = DataLoader(TensorDataset(torch.randn(11, 3), torch.arange(11) % 2), batch_size=4)
    checkpoint = Checkpoint(monitor="val/accuracy", mode="max")
    checkpoint.run = run
    saves_checkpoints = trainer_options.pop("enable_checkpointing", True)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        max_epochs=2,
        enable_checkpointing=saves_checkpoints,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[WriteResults(run), *([checkpoint] if saves_checkpoints else [])],
        **trainer_options,
    )
    trainer.fit(Classifier(nn.Linear(3, 2), 2), loader, loader)
    return run.read_results(), checkpoint


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by one second each time it is read."""
    ticks = itertools.count()
    monkeypatch.setattr("litnets.training.results_writer.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


@pytest.mark.usefixtures("clock")
def test_results_after_training(tmp_path):
    results, checkpoint = fit(tmp_path)
    assert results["epochs"] == 2
    assert results["steps"] == 6
    assert results["parameters"] == 3 * 2 + 2
    assert results["best"]["monitor"] == "val/accuracy"
    assert results["best"]["score"] == pytest.approx(checkpoint.best_model_score.item())
    assert results["samples_per_second"] == round(22 / 6)  # two epochs of 11 samples in 3 batches of one second each
    # The clock is read at the start, in each epoch, batch and validation, and at the end.
    assert results["seconds"] == 1 + 2 + 6 + 2 + 1


def test_accumulated_batches_count_as_one_step(tmp_path):
    assert fit(tmp_path, accumulate_grad_batches=3)[0]["steps"] == 2


def test_best_is_none_without_checkpoints(tmp_path):
    results, _ = fit(tmp_path, enable_checkpointing=False)
    assert results["best"] is None
    assert results["samples_per_second"] > 0


def test_fast_dev_run_writes_nothing(tmp_path):
    assert fit(tmp_path, fast_dev_run=True)[0] == {}
    assert not any(tmp_path.iterdir())
