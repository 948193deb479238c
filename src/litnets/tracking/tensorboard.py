"""What TensorBoard's events hold beside the scalars: the graph of the network, histograms of weights and gradients."""

import copy
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim import Optimizer


class Graph(Callback):
    """Writes the graph of `net`, traced on the first sample of the first batch. Changes neither the network nor the
    random numbers that training will draw.

    Raises nothing: a network that cannot be traced (it decides by its values) has no graph, which is said in a line.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step or batch_idx or trainer.current_epoch or not trainer.is_global_zero:
            return
        net = getattr(pl_module, "net", None)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not loggers or not isinstance(net, nn.Module) or not isinstance(batch, (tuple, list)):
            return
        given = batch[0] if isinstance(batch[0], (tuple, list)) else (batch[0],)
        inputs = tuple(value[:1] for value in given if isinstance(value, Tensor))
        devices = [net_device] if (net_device := pl_module.device).type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), warnings.catch_warnings():
            # Tracing is deprecated, but it is what the writer of torch does; and that a trace may not fit other
            # inputs is of no matter to a picture.
            warnings.simplefilter("ignore")
            try:
                copied = copy.deepcopy(net).eval()  # which is not compiled: a compiled one cannot be traced
                with redirect_stdout(StringIO()):  # torch prints the error beside raising it
                    for logger in loggers:
                        logger.experiment.add_graph(copied, inputs)
            except Exception as error:  # whatever a network says to one sample: training goes on without the picture
                said = (str(error) or repr(error)).splitlines()[0]
                print(f"TensorBoard has no graph of {type(net).__name__}: {said}", flush=True)


class Histograms(Callback):
    """Writes histograms of every weight and its gradient at the last step of each epoch."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not trainer.is_last_batch or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                continue
            for name, parameter in pl_module.named_parameters():
                logger.experiment.add_histogram(f"weights/{name}", parameter.detach(), trainer.global_step)
                if parameter.grad is not None:
                    logger.experiment.add_histogram(f"gradients/{name}", parameter.grad, trainer.global_step)
