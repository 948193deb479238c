"""Task: the steps, metrics and optimizer that all LightningModules of this project share."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import Precision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from litnets.errors import InputError, alternatives, did_you_mean
from litnets.internals import ConversionHook, is_last_batch_ready, restricted_classmethod
from litnets.nets.layers.initialization import Init
from litnets.safety.checkpoint_file import load_model, read_checkpoint, refuse_unsafe_loading
from litnets.safety.plain import load_yaml
from litnets.tasks.input_shapes import InputKind, Shape, wrong_targets
from litnets.tasks.metrics import MeanLoss, reset_metrics
from litnets.tasks.optimization import Optimization
from litnets.tasks.parameter_groups import stage_rates
from litnets.tasks.registry import NAMED_TASKS

# A batch holds the inputs of the network (a tensor, or several, such as padded sequences and lengths) and the targets.
Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor]


@dataclass(frozen=True)
class NetFactory:
    """Build a network once the number of outputs is known from the task.

    Args:
        input_shape: Shape of one input.
        build: Returns the network for the shape of one input and the number of outputs.
        init: Weight initialization of layers in front of the network, such as an embedding.
    """

    input_shape: Shape
    build: Callable[[Shape, int], nn.Module]
    init: Init = "default"

    def __call__(self, out_features: int) -> nn.Module:
        return self.build(self.input_shape, out_features)


# Training metrics are updated once this many steps are pending, or immediately if predictions exceed this many bytes.
_MAX_PENDING = 16
_MAX_PENDING_BYTES = 2**20


class Task(ConversionHook, LightningModule):
    """A network and how to train it. A subclass adds the loss, the metrics and the predictions.

    Training metrics are updated every few steps, in a third of the time that updates in every step would take. All
    metrics are logged once per epoch. The loss of a single training step is also logged, but only every
    `trainer.log_every_n_steps` steps, because `self.log` costs as much as a small step.

    Args:
        net: The network.
        optimizer: Class of torch.optim by name (`AdamW`, `SGD`, ...), `SGDW` (SGD with decoupled weight decay),
            `ConvMuon` (SGD, and Muon for convolution filters), or the dotted path of another class.
        lr: Learning rate; null keeps the optimizer's default.
        weight_decay: Weight decay, not applied to biases and normalization layers; null keeps the optimizer's default.
        optimizer_args: Further arguments of the optimizer, such as `{momentum: 0.9}`. Default: none.
        lr_scheduler: Class of torch.optim.lr_scheduler by name, `WarmupCosineLR` (linear warm-up, then cosine decay to
            zero), or the dotted path of another class. A missing length (`total_steps`, `T_max`, ...) is taken from the
            trainer. Default: a constant learning rate.
        lr_scheduler_args: Further arguments of the schedule; for `ReduceLROnPlateau` also `monitor`, the metric to
            monitor (default: that of the task, such as `val/loss`).
        lr_scheduler_interval: Update the learning rate every `step` or every `epoch`. Default: every step if the length
            is taken from the trainer, else every epoch.
        layer_decay: Learning rate of each stage of the network divided by that of the stage after it, in (0, 1]: with
            0.8, the last stage learns with the full learning rate, the one before with 0.8 of it, then 0.64 and so on.
            Useful for pretrained weights (Bao et al. 2022). Default: all stages learn with the same learning rate.
        compile: Whether to compile the network with torch.compile. The first step then takes about a minute, and a C++
            compiler is needed; worthwhile for long training on a GPU. The state_dict stays the same.

    Raises:
        InputError: The optimizer or the schedule cannot be built (see `Optimization`), or no compiler is installed.
    """

    # The default metric for checkpoints, early stopping and ReduceLROnPlateau.
    monitor: ClassVar[str] = "val/loss"
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"
    # What a test breaks metrics down by, such as `test/f1/shirt`: class, target or channel.
    breakdown: ClassVar[str] = "class"
    # What a task predicts, and what a network reads: for errors that suggest another class.
    predicts: ClassVar[str] = ""
    reads: ClassVar[frozenset[InputKind]] = frozenset()

    # Called with the outputs and targets of each batch of a validation or test, while a callback records them.
    output_observer: Callable[[Tensor, Tensor], None] | None = None

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
        layer_decay: float | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(net, NetFactory):
            tasks = [subclass.__name__ for subclass in type(self).__subclasses__()]
            raise InputError(f"{type(self).__name__} is a network without a task; use {alternatives(tasks)}")
        # This collects the arguments of all subclasses. They must be plain numbers, strings, lists and dicts, because
        # the checkpoint is loaded with weights_only=True.
        self.save_hyperparameters(ignore=["net", "train_metrics", "eval_metrics"])
        self.net = net
        # Loss, predictions and targets of the steps that are not yet included in the training metrics.
        self._pending_updates: list[tuple[Tensor, Tensor, Tensor]] = []
        if compile:
            _check_compiler()
            net.compile()  # in place: `torch.compile(net)` would wrap the module and rename the weights
        self.optimization = Optimization(
            optimizer,
            lr,
            weight_decay,
            optimizer_args,
            lr_scheduler,
            lr_scheduler_args,
            lr_scheduler_interval,
            layer_decay,
        )
        # Factors of the learning rate by name of a stage. A callback may set them before the optimizer is built.
        self.lr_factors: dict[str, float] = {}

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
        """Load a model from a checkpoint, without running any code that the checkpoint holds or names.

            model = MLPClassifier.load_from_checkpoint("best.ckpt", trust=["mine"]).eval()

        The model is in training mode until `eval`, and does not prepare its inputs. `litnets.load` returns a model in
        evaluation mode that prepares them.
        A checkpoint may name classes of `torch.nn`, `torch.optim` and litnets, and those in modules that the program
        has imported already. `trust` adds more.

        Args:
            checkpoint_path: The checkpoint: a path, a URL or an open file.
            map_location: Where to put the weights, as in torch.load; by default on the device they were saved from.
            hparams_file: A YAML file whose hyperparameters replace those of the checkpoint.
            strict: Whether the names of all weights must match.
            weights_only: True or None. False, which lets a checkpoint run code, is refused.
            trust: Modules, with their submodules, whose classes the checkpoint may name; they are imported.
            **kwargs: Hyperparameters that replace those of the checkpoint.

        Raises:
            InputError: The checkpoint is damaged, does not fit this class, or names a class that is not allowed.
        """
        refuse_unsafe_loading(weights_only)
        content = read_checkpoint(checkpoint_path, map_location)
        if isinstance(content, dict) and hparams_file is not None:
            content["hyper_parameters"] = load_yaml(str(hparams_file), Path(hparams_file).read_text(encoding="utf-8"))
        model = load_model(cls, checkpoint_path, content, kwargs, trust, strict)
        weights = [value for value in content["state_dict"].values() if isinstance(value, Tensor)]
        return model.to(weights[0].device) if weights else model

    @classmethod
    def network(cls) -> type | None:
        """Return the class that declares the network's arguments, such as `WithMLP`."""
        return next((base for base in cls.mro() if vars(base).get("reads")), None)

    @classmethod
    def can_read(cls, kind: InputKind) -> bool:
        """Return whether the network, including layers in front of it, reads inputs of this kind."""
        return any(kind in vars(base).get("reads", ()) for base in cls.mro())

    def wrong_targets(self, net: nn.Module | NetFactory) -> InputError:
        """Return the error for data whose targets this task cannot predict. It names tasks that can."""
        return wrong_targets(type(self), net.input_shape if isinstance(net, NetFactory) else None)

    def set_metrics(self, train: MetricCollection, evaluation: MetricCollection) -> None:
        """Clone the metrics for each split. Keep `train` small, because it is updated throughout training."""
        self.train_metrics = train.clone(prefix="train/")
        self.val_metrics = evaluation.clone(prefix="val/")
        self.test_metrics = evaluation.clone(prefix="test/")
        self.train_loss, self.val_loss, self.test_loss = (MeanLoss() for _ in range(3))

    def on_convert(self, convert: Callable[[], None]) -> None:
        # Precisions bf16-true and 64-true convert the entire module, but metrics, loss and buffers must stay float32. A
        # sum in bfloat16 stops growing within a few hundred batches, the loss gets float32 outputs, and a mean or
        # standard deviation could not be restored from bfloat16.
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
        # With precision bf16-true, 16-true or 64-true, Lightning would convert a batch before the data are normalized,
        # and 2024 and 2027 are the same number in bfloat16. `forward` converts normalized inputs instead.
        self.trainer.precision_plugin.convert_input = Precision().convert_input  # type: ignore[method-assign]

    def check_data(self, datamodule: Any) -> None:
        """Raise InputError if the data are not prepared as the network expects. The base class accepts all data.

        Called when training, test or prediction starts, after a checkpoint has been restored.
        """

    def on_fit_start(self) -> None:
        self.check_data(self.trainer.datamodule)  # type: ignore[attr-defined]
        # An earlier fit may have ended in the middle of an epoch.
        self._pending_updates.clear()
        reset_metrics(self.train_loss, self.train_metrics)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""
        raise NotImplementedError

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        """Return the weight of a batch in an epoch's mean loss: its number of samples, or what the loss divides by."""
        return len(targets)

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """Return what the metrics compare with the targets, given the outputs of the network in float32."""
        return outputs

    def update_metrics(self, metrics: MetricCollection, outputs: Tensor, targets: Tensor) -> Tensor:
        """Update the metrics of validation or test with a batch, and return what they compared with the targets."""
        predictions = self.metric_inputs(outputs)
        metrics.update(predictions, targets)
        return predictions

    def train_metric_inputs(self, outputs: Tensor) -> Tensor:
        """Return what the training metrics compare with the targets. Called in every training step."""
        return self.metric_inputs(outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the outputs of the network, `(N, ...)`, in float32 even with mixed precision."""
        first, *rest = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        if first.is_floating_point():
            first = first.to(self.dtype)  # has an effect only with precision 64-true, bf16-true or 16-true
        out: Tensor = self.net(first, *rest)
        return out.float()

    def training_forward(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of the network for a training batch, and the loss."""
        outputs: Tensor = self(inputs)
        return outputs, self.loss(outputs, targets)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        outputs, loss = self.training_forward(*batch)
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.global_step + 1) % every == 0:
            self.log("train/loss_step", loss, prog_bar=True)
        # Lightning divides `loss` by accumulate_grad_batches.
        return {"loss": loss, "batch_loss": loss.detach(), "outputs": outputs}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # Not in training_step, so that a batch whose optimizer step was interrupted is not counted.
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
        """Update the training metrics with the pending steps.

        Call this before reading the training metrics within an epoch. At the end of an epoch they are up to date.
        """
        for loss, predictions, targets in self._pending_updates:
            self.train_loss.update(loss, self.loss_weight(targets))
            # MetricCollection.update would take twice as long, because it also looks for metrics that share state.
            for metric in self.train_metrics.values(copy_state=False):
                metric.update(predictions, targets)
        self._pending_updates.clear()

    def on_validation_start(self) -> None:
        self.update_train_metrics()  # a callback may end the epoch after validation

    def on_train_epoch_end(self) -> None:
        self.update_train_metrics()
        self._log_epoch("train/loss", self.train_loss, self.train_metrics)
        # Keep the metrics if max_steps ended the epoch early, because the epoch continues when the run is resumed.
        if is_last_batch_ready(self.trainer.fit_loop.epoch_loop):
            reset_metrics(self.train_loss, self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch, self.val_loss, self.val_metrics)

    def on_test_start(self) -> None:
        self.check_data(self.trainer.datamodule)  # type: ignore[attr-defined]

    def on_predict_start(self) -> None:
        self.check_data(self.trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val/loss", self.val_loss, self.val_metrics)
        reset_metrics(self.val_loss, self.val_metrics)

    def test_forward(self, inputs: Inputs) -> Tensor:
        """Return the outputs of the network for a test or prediction, `(N, ...)`."""
        outputs: Tensor = self(inputs)
        return outputs

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch, self.test_loss, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test/loss", self.test_loss, self.test_metrics)
        reset_metrics(self.test_loss, self.test_metrics)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """Return the predictions by column name, each `(N,)` or `(N, k)`. The batch may or may not include targets."""
        raise NotImplementedError

    def sample_results(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return what test_predictions.parquet records of each sample of a batch, by column name.

        A value per sample is `(N,)`; a value per class or target `(N, k)`; per step and channel
        `(N, horizon, channels)`. This implementation records nothing.
        """
        return {}

    def finish_results(self, results: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the columns to record, given the `sample_results`.

        If a sample is evaluated in parts, such as the tiles of an image, the results are sums over its parts. This
        implementation returns them unchanged.
        """
        return dict(results)

    def describe_results(self) -> dict[str, Any]:
        """Return what a reader of `sample_results` needs to know, as plain values: names of the classes, units."""
        return {}

    @staticmethod
    def inputs_of(batch: Batch | Inputs) -> Inputs:
        """Return the inputs of a batch for prediction, which may be a tensor of inputs alone."""
        return batch if isinstance(batch, Tensor) else batch[0]

    def configure_optimizers(self) -> Any:
        optimization = self.optimization
        rates = stage_rates(self.net, optimization.layer_decay, self.lr_factors)
        optimizer = optimization.build_optimizer(self.named_parameters(), rates)
        if optimization.lr_scheduler is None:
            return optimizer
        monitor = optimization.monitor or self.monitor
        if optimization.interval == "step":
            length = float(self.trainer.estimated_stepping_batches)  # infinite if training has no end
        else:
            epochs = self.trainer.max_epochs
            length = math.inf if epochs is None or epochs < 0 else float(epochs)
        monitored = {**dict(self.train_metrics.items()), **dict(self.val_metrics.items())}.get(monitor)
        mode: Literal["min", "max"] = "max" if monitored is not None and monitored.higher_is_better else "min"
        if monitor == self.monitor:
            mode = self.monitor_mode
        scheduler = optimization.build_scheduler(optimizer, length, mode)
        config: dict[str, Any] = {
            "scheduler": scheduler,
            "interval": optimization.interval,
            "monitor": monitor,
            "name": "lr",
        }
        if optimization.lr_scheduler == "ReduceLROnPlateau" and monitor.startswith("val/"):
            config["frequency"] = self.trainer.check_val_every_n_epoch or 1  # the metric exists only after a validation
        return {"optimizer": optimizer, "lr_scheduler": config}

    def check_monitor(self, monitor: str) -> None:
        """Check, before Lightning does, that this task logs `monitor` and the metric of ReduceLROnPlateau.

        Raises:
            InputError: The task does not log one of them.
        """
        logged = ["train/loss", "val/loss", *self.train_metrics, *self.val_metrics]
        for name in filter(None, (monitor, self.optimization.monitor)):
            if name not in logged:
                raise InputError(
                    f"monitor: no metric '{name}'{did_you_mean(name, logged)} (choose from: {', '.join(logged)})"
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
        if self.output_observer is not None:
            self.output_observer(outputs, targets)
        loss.update(self.loss(outputs, targets), self.loss_weight(targets))
        return self.update_metrics(metrics, outputs, targets)

    def _log_epoch(self, loss_name: str, loss: MeanLoss, metrics: MetricCollection) -> None:
        # `compute` gathers the states of all ranks. sync_dist would average the means of the ranks instead.
        values = {loss_name: loss.compute(), **metrics.compute()}
        self.log_dict(values, prog_bar=False)


def _check_compiler() -> None:
    # The compilers that torch looks for. Its own error is a hundred lines long.
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++", "cl"]
    if not any(map(shutil.which, compilers)):
        raise InputError(
            f"compile: needs a C++ compiler, but {alternatives(compilers)} is not installed; install one, or set "
            "compile to false"
        )
