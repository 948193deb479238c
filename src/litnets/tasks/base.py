"""Task: the steps, the metrics and the optimiser that every LightningModule of this project shares."""

import math
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import Precision
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from litnets.errors import InputError, did_you_mean
from litnets.internals import ConversionHook, restricted_classmethod
from litnets.nets.layers.initialization import Init
from litnets.tasks.input_shapes import InputKind, Shape, wrong_targets
from litnets.tasks.loading import load_task
from litnets.tasks.metrics import MeanLoss, reset_metrics
from litnets.tasks.optimization import Optimization
from litnets.tasks.registry import NAMED_TASKS

# What a batch holds: the network's inputs (a tensor, or several: padded steps and their lengths) and the targets.
Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor]


@dataclass(frozen=True)
class NetFactory:
    """A network that waits for its number of outputs, which the task knows.

    Args:
        input_shape: Shape of one input.
        build: Returns the network for the shape of one input and the number of outputs.
        init: Weight initialization of layers that are put in front of the network, such as an embedding.
    """

    input_shape: Shape
    build: Callable[[Shape, int], nn.Module]
    init: Init = "default"

    def __call__(self, out_features: int) -> nn.Module:
        return self.build(self.input_shape, out_features)


# Steps that are counted together, unless the outputs of one are as large as this.
_MAX_PENDING = 16
_MAX_PENDING_BYTES = 2**20


class Task(ConversionHook, LightningModule):
    """A network and how it is trained. A subclass gives the loss, the metrics and what a prediction is.

    Metrics see each step, some steps together, and are computed once an epoch, and the loss is logged every
    `trainer.log_every_n_steps` steps: one `self.log` costs as much as a small network's step, and counting in every
    step takes three times as long, as its code has left the processor's cache meanwhile.

    Args:
        net: The network.
        optimizer: Class of torch.optim by name (`AdamW`, `SGD` ...), `SGDW` (SGD with decoupled weight decay) or
            `ConvMuon` (SGD, and Muon for the filters of convolutions), or the dotted path of another one.
        lr: Learning rate; none leaves the optimiser's own default.
        weight_decay: Weight decay, of which biases and normalisation are left out; none leaves the optimiser's own.
        optimizer_args: Further arguments of the optimiser, such as `{momentum: 0.9}`.
        lr_scheduler: Class of torch.optim.lr_scheduler by name, or `WarmupCosineLR` (linear warm-up, then a cosine to
            zero), or a dotted path. A length (`total_steps`, `T_max` ...) that is not given comes from the trainer.
        lr_scheduler_args: Further arguments of the schedule; for `ReduceLROnPlateau` also `monitor`, the metric that
            it watches (by default the task's own, such as `val/loss`).
        lr_scheduler_interval: Whether the schedule moves each `step` or each `epoch`; by default each step if its
            length comes from the trainer, else each epoch.
        compile: Whether torch.compile makes machine code of the network when it is first used, which takes a minute and
            needs a C++ compiler: worth it for long trainings on a GPU. The state_dict is as without.

    Raises:
        InputError: What `Optimization` raises; nothing there to compile with.
    """

    # The validation metric that checkpoints, early stopping and plateaus watch unless told otherwise.
    monitor: ClassVar[str] = "val/loss"
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"
    # What a task predicts, and what a network reads: for errors that suggest another class.
    predicts: ClassVar[str] = ""
    reads: ClassVar[frozenset[InputKind]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.predicts and cls.network():
            NAMED_TASKS.append(cls)

    def __init__(
        self,
        net: nn.Module | NetFactory,
        optimizer: str = "AdamW",
        lr: float | None = None,
        weight_decay: float | None = None,
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(net, NetFactory):
            tasks = [subclass.__name__ for subclass in type(self).__subclasses__()]
            raise InputError(f"{type(self).__name__} is a network without a task; there are {', '.join(tasks)}")
        # Collects the arguments of the subclass too; only plain numbers, strings, lists and dicts, so that the
        # checkpoint loads with weights_only=True.
        self.save_hyperparameters(ignore=["net", "train_metrics", "eval_metrics"])
        self.net = net
        # Loss, predictions and targets of the steps that are not yet in the training's metrics.
        self._pending_updates: list[tuple[Tensor, Tensor, Tensor]] = []
        if compile:
            _check_compiler()
            net.compile()  # in its place: `torch.compile(net)` would be another module, and rename the weights
        self.optimization = Optimization(
            optimizer, lr, weight_decay, optimizer_args, lr_scheduler, lr_scheduler_args, lr_scheduler_interval
        )

    @restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        trust: Iterable[str] = (),
        **kwargs: Any,
    ) -> Self:
        """Return the model of a checkpoint. Nothing that the checkpoint holds or names is run.

            model = MLPClassifier.load_from_checkpoint("best.ckpt", trust=["mine"])

        A checkpoint may name classes of `torch.nn`, `torch.optim` and litnets, and those in modules that the program
        has imported already. `trust` adds more.

        Args:
            checkpoint_path: The checkpoint: a path, a URL or an open file.
            map_location: Where the weights go, as in torch.load; by default to the device that they were on.
            hparams_file: A YAML file whose hyperparameters replace those of the checkpoint.
            strict: Whether the names of all weights must match.
            weights_only: True or None. False, which lets a checkpoint run code, is refused.
            trust: Modules, with their submodules, whose classes the checkpoint may name; they are imported.
            **kwargs: Hyperparameters that replace those of the checkpoint.

        Raises:
            InputError: No complete checkpoint, one that does not fit this class, or one that names a class that it may
                not name.
        """
        if weights_only is False:
            raise InputError(
                "weights_only=False would let the checkpoint run any code; leave it out: what litnets saves loads "
                "without. If you trust the file, torch.load(path, weights_only=False) reads it"
            )
        return load_task(cls, checkpoint_path, map_location, hparams_file, strict, trust, kwargs)

    @classmethod
    def network(cls) -> type | None:
        """Return the class that declares the network's arguments, such as `WithMLP`."""
        return next((base for base in cls.mro() if vars(base).get("reads")), None)

    @classmethod
    def can_read(cls, kind: InputKind) -> bool:
        """Return whether the network and what is in front of it read inputs of this kind."""
        return any(kind in vars(base).get("reads", ()) for base in cls.mro())

    def wrong_targets(self, net: nn.Module | NetFactory) -> InputError:
        """Return the error for data whose targets this task cannot predict. It names tasks that can."""
        return wrong_targets(type(self), net.input_shape if isinstance(net, NetFactory) else None)

    def set_metrics(self, train: MetricCollection, evaluation: MetricCollection) -> None:
        """Give each split its own metrics: `train` is kept small, because it is updated in every step."""
        self.train_metrics = train.clone(prefix="train/")
        self.val_metrics = evaluation.clone(prefix="val/")
        self.test_metrics = evaluation.clone(prefix="test/")
        self.train_loss, self.val_loss, self.test_loss = (MeanLoss() for _ in range(3))

    def on_convert(self, convert: Callable[[], None]) -> None:
        # Precisions bf16-true and 64-true convert all of a module. But a sum in bfloat16 stops growing within a few
        # hundred batches, the loss gets outputs in float32, and a mean or standard deviation that has been rounded to
        # bfloat16 does not come back.
        criterion = getattr(self, "criterion", None)
        exact = [part for part in self.modules() if isinstance(part, Metric) or part is criterion]
        before = [
            (part, name, buffer)
            for part in (self, *exact)
            for name, buffer in part.named_buffers(recurse=False)
            if buffer.is_floating_point()
        ]
        convert()
        for part in exact:
            part.to(torch.float32)
        for part, name, buffer in before:
            setattr(part, name, buffer.to(getattr(part, name).device))

    def setup(self, stage: str) -> None:
        # Precisions bf16-true, 16-true and 64-true would turn a batch before the data have scaled it, and 2024 and 2027
        # are one year in bfloat16; `forward` turns what has been scaled.
        self.trainer.precision_plugin.convert_input = Precision().convert_input  # type: ignore[method-assign]

    def on_fit_start(self) -> None:
        # An earlier training may have ended within an epoch.
        self._pending_updates.clear()
        reset_metrics(self.train_loss, self.train_metrics)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar."""
        raise NotImplementedError

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        """How much a batch's loss counts in the mean of an epoch: its samples, or what the loss divides by."""
        return len(targets)

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """What the metrics compare with the targets, from the network's outputs in float32."""
        return outputs

    def train_metric_inputs(self, outputs: Tensor) -> Tensor:
        """The same for the training's metrics, in every step."""
        return self.metric_inputs(outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        """The network's outputs `(N, ...)`, in float32 also under mixed precision."""
        first, *rest = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        if first.is_floating_point():
            first = first.to(self.dtype)  # for precision 64-true and bf16-true; otherwise nothing happens
        out: Tensor = self.net(first, *rest)
        return out.float()

    def training_forward(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The network's outputs for a training batch, and their loss."""
        outputs: Tensor = self(inputs)
        return outputs, self.loss(outputs, targets)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        outputs, loss = self.training_forward(*batch)
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.global_step + 1) % every == 0:
            self.log("train/loss_step", loss, prog_bar=True)
        # Lightning hands on `loss` divided by accumulate_grad_batches.
        return {"loss": loss, "batch_loss": loss.detach(), "outputs": outputs}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # Here, not in the step: a batch whose optimiser step did not come about is not counted.
        _, targets = batch
        predictions = self.train_metric_inputs(outputs["outputs"]).detach()
        self._pending_updates.append((outputs["batch_loss"], predictions, targets))
        trainer: Any = self.trainer
        if (
            len(self._pending_updates) == _MAX_PENDING
            or predictions.nbytes > _MAX_PENDING_BYTES
            or trainer.is_last_batch
            or trainer.should_stop
            or trainer.global_step == trainer.max_steps
        ):
            self.update_train_metrics()

    def update_train_metrics(self) -> None:
        """Add the steps that are not yet in the training's metrics to them. Whoever reads these within an epoch calls
        it before; at an epoch's end they are whole."""
        for loss, predictions, targets in self._pending_updates:
            self.train_loss.update(loss, self.loss_weight(targets))
            # One by one: the collection takes as long again to find out which of them share a state.
            for metric in self.train_metrics.values(copy_state=False):
                metric.update(predictions, targets)
        self._pending_updates.clear()

    def on_validation_start(self) -> None:
        self.update_train_metrics()  # what is found in a validation may end the epoch

    def on_train_epoch_end(self) -> None:
        self.update_train_metrics()
        self._log_epoch("train/loss", self.train_loss, self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch, self.val_loss, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val/loss", self.val_loss, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch, self.test_loss, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test/loss", self.test_loss, self.test_metrics)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """Columns of the predictions, each `(N,)` or `(N, k)`; the batch may or may not hold targets."""
        raise NotImplementedError

    @staticmethod
    def inputs_of(batch: Batch | Inputs) -> Inputs:
        """The inputs of a batch to predict: the first of what it holds, or a tensor that is nothing but inputs."""
        return batch if isinstance(batch, Tensor) else batch[0]

    def configure_optimizers(self) -> Any:
        how = self.optimization
        optimizer = how.build_optimizer(self.named_parameters())
        if how.lr_scheduler is None:
            return optimizer
        monitor = how.monitor or self.monitor
        if how.interval == "step":
            length = float(self.trainer.estimated_stepping_batches)  # infinite in an endless training
        else:
            epochs = self.trainer.max_epochs
            length = math.inf if epochs is None or epochs < 0 else float(epochs)
        watched = {**dict(self.train_metrics.items()), **dict(self.val_metrics.items())}.get(monitor)
        mode: Literal["min", "max"] = "max" if watched is not None and watched.higher_is_better else "min"
        if monitor == self.monitor:
            mode = self.monitor_mode
        scheduler = how.build_scheduler(optimizer, length, mode)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": how.interval, "monitor": monitor, "name": "lr"}
        if how.lr_scheduler == "ReduceLROnPlateau" and monitor.startswith("val/"):
            config["frequency"] = self.trainer.check_val_every_n_epoch or 1  # it has something to look at then
        return {"optimizer": optimizer, "lr_scheduler": config}

    def check_monitor(self, monitor: str) -> None:
        """Raises InputError if no epoch of this task logs `monitor`, or what its ReduceLROnPlateau watches; Lightning
        says so only after the first epoch."""
        logged = ["train/loss", "val/loss", *self.train_metrics, *self.val_metrics]
        for name in filter(None, (monitor, self.optimization.monitor)):
            if name not in logged:
                raise InputError(
                    f"monitor: no metric '{name}'{did_you_mean(name, logged)} (there are: {', '.join(logged)})"
                )

    def _evaluation_step(
        self,
        batch: Batch,
        loss: MeanLoss,
        metrics: MetricCollection,
        forward: Callable[[Inputs], Tensor] | None = None,
    ) -> Tensor:
        inputs, targets = batch
        outputs = (forward or self)(inputs)
        loss.update(self.loss(outputs, targets), self.loss_weight(targets))
        predictions = self.metric_inputs(outputs)
        metrics.update(predictions, targets)
        return predictions

    def _log_epoch(self, loss_name: str, loss: MeanLoss, metrics: MetricCollection) -> None:
        # torchmetrics gathers the state of all processes by itself, so that no mean of means is taken.
        values = {loss_name: loss.compute(), **metrics.compute()}
        self.log_dict(values, prog_bar=False)
        reset_metrics(loss, metrics)


def _check_compiler() -> None:
    # Those that torch looks for, whose own complaint is a hundred lines long.
    known = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++", "cl"]
    if not any(map(shutil.which, known)):
        raise InputError(
            f"compile: expected a C++ compiler, and {' or '.join(known)} is not there; install one, or leave it out"
        )
