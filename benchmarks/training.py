"""Time a training step: `litnets fit` with the fast loop and with Lightning's loop, against a raw PyTorch loop."""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.result import Result, Settings, divide
from litnets.cli.app import LitnetsCLI
from litnets.tasks import Task
from litnets.training.signals import Signals

_MLP = ("--model", "MLPClassifier", "--model.hidden_layer_sizes", "[64,128,64]", "--model.batch_norm", "true")
# Name, steps per round, options of the network, and the targets of two ratios: step / raw loop, and floor / step.
CASES: list[tuple[str, int, tuple[str, ...], float, float | None]] = [
    ("MLP 128", 60, (*_MLP, "--data.batch_size", "128"), 1.40, None),
    ("MLP 1024", 20, (*_MLP, "--data.batch_size", "1024"), 1.10, 0.85),
    (
        "CNN",
        6,
        ("--model", "CNNClassifier", "--model.blocks_per_stage", "1", "--trainer.precision", "auto"),
        1.10,
        0.92,
    ),
    ("RNN", 8, ("--model", "RNNClassifier", "--trainer.precision", "auto"), 1.10, None),
]

# These cases are also measured with Lightning's epoch loop.
_BOTH_LOOPS = ("MLP 128", "CNN")


def measure_step(settings: Settings) -> list[Result]:
    """Compare a step, including loading and metrics, with a raw loop and with a step on a fixed batch."""
    results = []
    for name, batches, network, raw_target, floor_target in CASES:
        seconds = _fit(settings, settings.size(batches, 2), network)
        results += [
            Result(f"step: {name} against a raw loop", divide(seconds["litnets"], seconds["raw"]), raw_target, "upper"),
            Result(f"step: fraction of the floor, {name}", divide(seconds["floor"], seconds["litnets"]), floor_target),
        ]
        if name in _BOTH_LOOPS:
            lightning = _fit(settings, settings.size(batches, 2), (*network, "--fast_loop", "false"))
            ratios = divide(lightning["litnets"], lightning["raw"])
            results.append(Result(f"step: {name} with Lightning's loop, --fast_loop false", ratios))
    return results


class RawLoop:
    """A minimal training loop with the same network, batch size, precision and optimizer.

    Args:
        task: The task whose network is copied and whose optimizer is rebuilt.
        images: Training split `(N, C, H, W)`, uint8.
        targets: Classes `(N,)`.
        data: The data module with the mean, standard deviation and batch size to use.
        trainer: The trainer with the precision and number of batches to use.
    """

    def __init__(self, task: Task, images: Tensor, targets: Tensor, data: Any, trainer: Trainer) -> None:
        self.images, self.targets = images, targets.long()
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
        self.net = copy.deepcopy(task.net).train()
        self.optimizer = task.optimization.build_optimizer(self.net.named_parameters())
        self.batch_size = data.batch_size
        self.batches = int(trainer.limit_train_batches)
        self.mixed = trainer.precision == "bf16-mixed"

    def step(self, images: Tensor, targets: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            loss = cross_entropy(self.net(images), targets)
        loss.backward()
        self.optimizer.step()

    def epoch(self) -> float:
        """Return the mean seconds per step over an epoch."""
        start = time.perf_counter()
        for indices in torch.randperm(len(self.targets)).split(self.batch_size)[: self.batches]:
            self.step((self.images[indices] - self.mean) / self.std, self.targets[indices])
        return (time.perf_counter() - start) / self.batches

    def floor(self) -> float:
        """Return the mean seconds per step on one batch that is already loaded and normalized."""
        images = (self.images[: self.batch_size] - self.mean) / self.std
        targets = self.targets[: self.batch_size]
        start = time.perf_counter()
        for _ in range(self.batches):
            self.step(images, targets)
        return (time.perf_counter() - start) / self.batches


class InterleavedTimer(Callback):
    """Run the other measurements before each epoch, then record the mean seconds per step of the epoch.

    The clock runs from the end of the first step to the end of the last: `measure_epoch` measures the overhead of an
    epoch.
    """

    def __init__(self, **others: Callable[[], float]) -> None:
        self.others = others
        self.seconds: dict[str, list[float]] = {name: [] for name in ("litnets", *others)}
        self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, run in self.others.items():
            self.seconds[name].append(run())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._start = time.perf_counter()
        elif trainer.is_last_batch:
            self.seconds["litnets"].append((time.perf_counter() - self._start) / batch_idx)


class TimedFit(LitnetsCLI):
    """`litnets fit` with all of its callbacks and an `InterleavedTimer`."""

    def before_fit(self) -> None:
        self.datamodule.setup("fit")
        train = self.datamodule.splits["train"]
        images, targets = train.inputs[train.indices], train.targets[train.indices]
        raw = RawLoop(self.model, images, targets, self.datamodule, self.trainer)
        self.timer = InterleavedTimer(raw=raw.epoch, floor=raw.floor)
        self.trainer.callbacks.insert(0, self.timer)  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Skip the test."""


def fit_options(settings: Settings, epochs: int) -> tuple[str, ...]:
    """Return the options that every measured `litnets fit` on MNIST uses."""
    return (
        *(
            "fit",
            "--recipe",
            "false",
            "--data",
            "MNIST",
            "--data.data_dir",
            str(settings.data),
            "--runs_dir",
            str(settings.work / "runs"),
        ),
        *("--trainer.accelerator", "cpu", "--trainer.max_epochs", str(epochs), "--wandb.mode", "off"),
    )


def _fit(settings: Settings, batches: int, network: tuple[str, ...]) -> dict[str, list[float]]:
    """Return the seconds per step of litnets, the raw loop and the floor for each round after a warm-up round."""
    limits = ("--trainer.limit_train_batches", str(batches), "--trainer.limit_val_batches", "1")
    with Signals() as signals:
        args = [*fit_options(settings, settings.size(3 * settings.rounds, 1) + 1), *limits, *network]
        timer = TimedFit([*args, "--trainer.enable_progress_bar", "false"], signals).timer
    return {name: seconds[1:] for name, seconds in timer.seconds.items()}


def quiet_trainer(batches: int) -> Trainer:
    """Return a Trainer that saves, logs and prints nothing."""
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
