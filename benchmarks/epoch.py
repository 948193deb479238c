"""Time an epoch on MNIST: the example of the most used Lightning template against the same network in litnets.

The reference follows that template: it reads samples one by one from torchvision's dataset, updates and logs metrics in
every step, and lets ReduceLROnPlateau monitor the validation loss of every epoch.
"""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import Accuracy

from benchmarks.loader import BATCH, sample_by_sample
from benchmarks.result import Result, Settings, divide, interleave
from benchmarks.training import fit_options
from litnets.cli.app import LitnetsCLI
from litnets.data import MNIST
from litnets.training.signals import Signals


class Reference(LightningModule):
    """An MLP 784-64-128-64-10 with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in ((784, 64), (64, 128), (128, 64)):
            layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(64, 10))
        self.criterion = nn.CrossEntropyLoss()
        self.train_acc = Accuracy(task="multiclass", num_classes=10)
        self.val_acc = Accuracy(task="multiclass", num_classes=10)
        self.train_loss, self.val_loss, self.val_acc_best = MeanMetric(), MeanMetric(), MaxMetric()

    def model_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x, y = batch
        logits = self.net(x)
        return self.criterion(logits, y), torch.argmax(logits, dim=1), y

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, preds, targets = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(preds, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss, preds, targets = self.model_step(batch)
        self.val_loss(loss)
        self.val_acc(preds, targets)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.001)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


class Stopwatch(Callback):
    """Measure the seconds from the start of the last epoch to the end of training, including validation."""

    def __init__(self) -> None:
        self.seconds = self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self._start


class StopwatchFit(LitnetsCLI):
    """`litnets fit` with all of its callbacks and a stopwatch."""

    def before_fit(self) -> None:
        self.stopwatch = Stopwatch()
        self.trainer.callbacks.append(self.stopwatch)  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Skip the test."""


def measure_epoch(settings: Settings) -> list[Result]:
    """Measure the seconds of an epoch on MNIST, including validation."""
    data = MNIST(data_dir=str(settings.data))
    data.setup("fit")
    items = sample_by_sample(settings, data).dataset
    val_size = len(data.splits["val"])

    def reference() -> float:
        parts = random_split(items, [len(items) - val_size, val_size])  # type: ignore[arg-type]
        stopwatch = Stopwatch()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[stopwatch],
            logger=CSVLogger(settings.work / "reference"),
            default_root_dir=settings.work / "reference",
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Reference(), DataLoader(parts[0], BATCH, shuffle=True), DataLoader(parts[1], BATCH))
        return stopwatch.seconds

    network = ("--model", "MLPClassifier", "--model.hidden_layer_sizes", "[64,128,64]", "--model.batch_norm", "true")
    optimizer = ("--model.optimizer", "Adam", "--model.lr", "0.001", "--model.lr_scheduler", "ReduceLROnPlateau")

    def litnets() -> float:
        with Signals() as signals:
            args = [*fit_options(settings, epochs=2), *network, *optimizer, "--data.batch_size", str(BATCH)]
            return StopwatchFit([*args, "--trainer.enable_progress_bar", "false"], signals).stopwatch.seconds

    seconds = interleave(settings.slow_rounds, reference=reference, litnets=litnets)
    name = "epoch: MLP 64-128-64, speed against reading sample by sample and logging every step"
    return [Result(name, divide(seconds["reference"], seconds["litnets"]), 6)]
