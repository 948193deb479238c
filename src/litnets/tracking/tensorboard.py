"""Log the graph of the network to TensorBoard."""

import copy
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from litnets.safety.escaping import printable


class Graph(Callback):
    """Log the graph of `net`, traced with the first sample of the first batch.

    Neither the network nor the random state of the training changes. A network that cannot be traced, for example
    because its control flow depends on values, gets no graph; one line reports why.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step or batch_idx or trainer.current_epoch or not trainer.is_global_zero:
            return
        net = getattr(pl_module, "net", None)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not loggers or not isinstance(net, nn.Module) or not isinstance(batch, (tuple, list)):
            return
        values = batch[0] if isinstance(batch[0], (tuple, list)) else (batch[0],)
        inputs = tuple(value[:1] for value in values if isinstance(value, Tensor))
        devices = [net_device] if (net_device := pl_module.device).type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), warnings.catch_warnings():
            # torch warns that tracing is deprecated (SummaryWriter uses it) and that other inputs may take other paths.
            warnings.simplefilter("ignore")
            try:
                copied = copy.deepcopy(net).eval()  # the copy is not compiled; a compiled network cannot be traced
                with redirect_stdout(StringIO()):  # torch prints the error before it raises it
                    for logger in loggers:
                        logger.experiment.add_graph(copied, inputs)
            except Exception as error:  # tracing may raise anything; training continues without a graph
                reason = (str(error) or repr(error)).splitlines()[0]
                print(printable(f"TensorBoard: no graph of {type(net).__name__}: {reason}"), flush=True)
