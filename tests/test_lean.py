import os

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.profilers import SimpleProfiler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.cli import Command
from litnets.lean import Unprofiled, leave_out_empty_hooks, stop_looking_for_gpus
from litnets.signals import Signals

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
FIT = ["fit", "--model", "MLPClassifier", "--data", "XOR", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
FIT += ["--trainer.log_every_n_steps", "1"]


class Lone(Callback):
    """Has one hook of a step; Lightning must not call the others."""

    def __init__(self):
        self.called = []

    def on_train_batch_end(self, *args):
        self.called.append("end")


class Heir(Lone):
    def on_before_backward(self, *args):
        self.called.append("backward")


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(callbacks):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=Unprofiled(),
    )
    leave_out_empty_hooks(trainer.callbacks)
    trainer.fit(Model(), DataLoader(TensorDataset(torch.zeros(3, 2))))


def test_hooks_that_are_there_are_called_and_the_others_are_not_prepared():
    seen = []
    lone, heir, given = Lone(), Heir(), LambdaCallback(on_before_zero_grad=lambda *args: seen.append("zero_grad"))
    fit([lone, heir, given])
    assert lone.called == ["end"] * 3
    assert heir.called == ["backward", "end"] * 3
    assert seen == ["zero_grad"] * 3
    assert lone.on_before_zero_grad is None
    assert callable(Callback.on_before_zero_grad)


def command(*options):
    with Signals() as signals:
        return Command([*FIT, "--trainer.enable_progress_bar", "false", *options], signals).trainer


def test_a_fit_is_not_profiled_unless_it_is_asked_for():
    trainer = command()
    assert isinstance(trainer.profiler, Unprofiled)
    assert all(callback.on_after_backward is None for callback in trainer.callbacks)
    asked = command("--trainer.profiler", "simple")
    assert isinstance(asked.profiler, SimpleProfiler)
    assert "run_training_batch" in asked.profiler.summary()


def test_optimizers_ask_the_short_way_for_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stop_looking_for_gpus()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    stop_looking_for_gpus()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"
