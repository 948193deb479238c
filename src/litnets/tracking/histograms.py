"""Log how the weights, gradients and activations of each layer are distributed."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from litnets.runs.distributions import Distribution, load_distributions, save_distributions
from litnets.runs.folder import Run
from litnets.runs.spacing import evenly_spaced

_MAX_EPOCHS = 40  # in distributions.csv
_MAX_LAYERS = 60  # of each kind
_MAX_VALUES = 50_000  # of a layer; more would hardly change its quantiles

# Modules that return their inputs unchanged, or with random changes.
_NOT_LAYERS = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


class Histograms(Callback):
    """Log the weights, their gradients and the activations of the last step of each epoch.

    TensorBoard gets histograms of each epoch. distributions.csv in the run folder gets the quantiles of at most 40
    evenly spaced epochs, for the report. The activations are the outputs of the modules without submodules. They
    are not recorded if the network is compiled.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._rows: dict[tuple[int, str, str], Distribution] = {}  # by epoch, kind and layer
        self._activations: dict[str, Tensor] = {}  # some of the values of each layer in the last step of the epoch
        self._hooks: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _logs(trainer):  # later rows are logged again after a resume
            rows = [row for row in load_distributions(self.run) if row.epoch <= trainer.current_epoch]
            self._rows = {(row.epoch, row.kind, row.layer): row for row in rows}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.is_last_batch and _logs(trainer):
            self._activations = {}
            self._hooks = [self._record_outputs(name, module) for name, module in _layers(pl_module)]

    def _record_outputs(self, name: str, module: nn.Module) -> RemovableHandle:
        def record(module: nn.Module, inputs: Any, outputs: Any) -> None:
            while isinstance(outputs, tuple) and outputs:  # recurrent layers return tuples
                outputs = outputs[0]
            if torch.compiler.is_compiling() or not isinstance(outputs, Tensor):
                return
            if outputs.ndim > 1 and outputs.is_floating_point():
                self._activations[name] = _some(outputs).clone()  # because the next module may change it in place

        return module.register_forward_hook(record)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not trainer.is_last_batch or not _logs(trainer):
            return
        parameters = list(pl_module.named_parameters())
        gradients = [(name, parameter.grad) for name, parameter in parameters if parameter.grad is not None]
        activations = self._activations.items()
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for kind, values in (("weights", parameters), ("gradients", gradients), ("activations", activations)):
                    for name, tensor in values:
                        if not tensor.isfinite().any():  # TensorBoard refuses such values
                            continue
                        logger.experiment.add_histogram(f"{kind}/{name}", tensor.detach(), trainer.global_step)
        epoch = trainer.current_epoch + 1
        if epoch in evenly_spaced(epoch, _MAX_EPOCHS + 1):
            self._add(epoch, "weights", ((name, value) for name, value in parameters if value.ndim > 1))
            self._add(epoch, "gradients", ((name, value) for name, value in gradients if value.ndim > 1))
            self._add(epoch, "activations", activations)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = evenly_spaced(trainer.current_epoch + 1, _MAX_EPOCHS + 1)
        self._rows = {key: row for key, row in self._rows.items() if row.epoch in epochs}
        if trainer.current_epoch + 1 in epochs and self._rows:
            save_distributions(self.run, self._rows.values())

    def _add(self, epoch: int, kind: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        for name, tensor in list(tensors)[:_MAX_LAYERS]:
            row = Distribution.of(epoch, kind, name, _some(tensor).float().cpu().numpy())
            if row is not None:
                self._rows[epoch, kind, name] = row


def _logs(trainer: Trainer) -> bool:
    return trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]


def _layers(module: LightningModule) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules whose outputs are recorded, by name."""
    for name, part in module.named_modules():
        if name and not any(True for _ in part.children()) and not isinstance(part, _NOT_LAYERS):
            yield name, part


def _some(tensor: Tensor) -> Tensor:
    """Return at most about `_MAX_VALUES` values. The stride is odd, because an even one could select the same pixel or
    channel of each sample: their numbers are usually even."""
    values = tensor.detach().flatten()
    return values[:: len(values) // _MAX_VALUES | 1]
