"""Time of a training step: of the command line with its fast loop and with Lightning's, and of a raw loop."""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.figure import Figure, Settings, divided
from litnets.cli.app import LitnetsCLI
from litnets.tasks import Task
from litnets.training.signals import Signals

_MLP = ("--model", "MLPClassifier", "--model.hidden_layer_sizes", "[64,128,64]", "--model.batch_norm", "true")
# Name, steps of a round, the network, what is asked of step / raw loop and of floor / step.
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


# Cases that are measured with Lightning's epoch loop as well, against the same raw loop.
_BOTH_LOOPS = ("MLP 128", "CNN")


def measure_step(settings: Settings) -> list[Figure]:
    """A step, loading and metrics included, against the raw loop's and against its forward, backward and optimiser."""
    figures = []
    for name, batches, network, of_raw, of_floor in CASES:
        seconds = _fit(settings, settings.size(batches, 2), network)
        figures += [
            Figure(f"step: {name} against a raw loop", divided(seconds["litnets"], seconds["raw"]), of_raw, "most"),
            Figure(f"step: share of the floor, {name}", divided(seconds["floor"], seconds["litnets"]), of_floor),
        ]
        if name in _BOTH_LOOPS:
            lightning = _fit(settings, settings.size(batches, 2), (*network, "--fast_loop", "false"))
            ratios = divided(lightning["litnets"], lightning["raw"])
            figures.append(Figure(f"step: {name} with Lightning's loop, --fast_loop false", ratios))
    return figures


class RawLoop:
    """The same network, batch size, precision and optimiser in the shortest loop that trains.

    Args:
        task: Whose network is copied and whose optimiser is built again.
        images: Training split `(N, C, H, W)`, uint8.
        targets: Its classes `(N,)`.
        data: Whose mean and standard deviation normalise, and whose batch size is taken.
        trainer: Whose precision and number of batches are taken.
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
        """Seconds of a step of an epoch."""
        start = time.perf_counter()
        for chosen in torch.randperm(len(self.targets)).split(self.batch_size)[: self.batches]:
            self.step((self.images[chosen] - self.mean) / self.std, self.targets[chosen])
        return (time.perf_counter() - start) / self.batches

    def floor(self) -> float:
        """Seconds of a step on a batch that is there already, the mean of as many."""
        images = (self.images[: self.batch_size] - self.mean) / self.std
        targets = self.targets[: self.batch_size]
        start = time.perf_counter()
        for _ in range(self.batches):
            self.step(images, targets)
        return (time.perf_counter() - start) / self.batches


class Turns(Callback):
    """Notes the seconds of a step in each epoch, before which the others have their turn: from the end of the first
    step to that of the last, as what an epoch costs beside its steps is measured elsewhere."""

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
    """`litnets fit` with all that it hangs on a training, and the turns of others."""

    def before_fit(self) -> None:
        super().before_fit()
        self.datamodule.setup("fit")
        train = self.datamodule.splits["train"]
        images, targets = train.inputs[train.indices], train.targets[train.indices]
        raw = RawLoop(self.model, images, targets, self.datamodule, self.trainer)
        self.turns = Turns(raw=raw.epoch, floor=raw.floor)
        self.trainer.callbacks.insert(0, self.turns)  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Nothing is tested."""


def fit_options(settings: Settings, epochs: int) -> tuple[str, ...]:
    """What every measured `litnets fit` on MNIST is told."""
    return (
        *("fit", "--data", "MNIST", "--data.data_dir", str(settings.data), "--runs_dir", str(settings.work / "runs")),
        *("--trainer.accelerator", "cpu", "--trainer.max_epochs", str(epochs), "--wandb.mode", "off"),
    )


def _fit(settings: Settings, batches: int, network: tuple[str, ...]) -> dict[str, list[float]]:
    """Seconds of a step of litnets, the raw loop and the floor in each of many short rounds; not of the first, which
    warms up."""
    limits = ("--trainer.limit_train_batches", str(batches), "--trainer.limit_val_batches", "1")
    with Signals() as signals:
        args = [*fit_options(settings, settings.size(3 * settings.rounds, 1) + 1), *limits, *network]
        turns = TimedFit([*args, "--trainer.enable_progress_bar", "false"], signals).turns
    return {name: seconds[1:] for name, seconds in turns.seconds.items()}


def quiet_trainer(batches: int) -> Trainer:
    """A Trainer that keeps and says nothing."""
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
