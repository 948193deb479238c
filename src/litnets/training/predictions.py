"""predictions.csv: one row a sample, written when prediction is done."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from litnets.errors import InputError
from litnets.runs.folder import Run


class PredictionsCSV(BasePredictionWriter):
    """Gathers the predictions of all processes and writes them in the order of the samples.

    A task's `predict_step` gives named columns; the one called `prediction` is a class if the model has
    `class_names`, and a column of several numbers becomes one column a class, or one a target if the model has
    `target_names`. A forecast `(N, horizon, channels)` becomes the columns `OT+1`, `OT+2` ..., one a channel (by the
    model's `channel_names`) and step ahead. If the data read the samples from a file each and say so (`sample_names`),
    the file has a column too.

    Args:
        run: The run whose predictions.csv is written, by the first process only.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(write_interval="epoch")
        self.run = run

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        columns: dict[str, Tensor] = {}
        if predictions:
            named = [{"prediction": batch} if isinstance(batch, Tensor) else batch for batch in predictions]
            if not all(isinstance(batch, Mapping) for batch in named):
                kind = type(predictions[0]).__name__
                raise InputError(f"predict_step: expected a tensor, or a dict of named ones; got {kind}")
            columns = {name: torch.cat([batch[name] for batch in named]).cpu() for name in named[0]}
        # One loader, whose indices come batch by batch.
        indices = [int(i) for batch in batch_indices[0] for i in batch]
        parts: list[Any] = [(indices, columns)]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, (indices, columns))
        if trainer.is_global_zero:
            facts = ("class_names", "target_names", "channel_names")
            names = [getattr(pl_module, fact, None) for fact in facts]
            samples = getattr(trainer.datamodule, "sample_names", None)  # type: ignore[attr-defined]
            each = {tuple(part[0]): part for part in parts if part[0]}  # once, where all processes have read all
            text = table(list(each.values()), *names, sample_names=samples)
            self.run.write(self.run.predictions, text)


def table(
    parts: Sequence[tuple[list[int], dict[str, Tensor]]],
    class_names: Sequence[str] | None,
    target_names: Sequence[str] | None = None,
    channel_names: Sequence[str] | None = None,
    *,
    sample_names: Sequence[str] | None = None,
) -> str:
    """CSV of the parts' rows, ordered by sample index."""
    indices = torch.tensor([i for part, _ in parts for i in part])
    order = indices.argsort()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = indices[order].tolist()
    header, cells = ["index"], [rows]
    if sample_names is not None:
        header.append("file")
        cells.append([sample_names[i] for i in rows])
    for name in parts[0][1] if parts else ():
        values = torch.cat([columns[name] for _, columns in parts])[order]
        if values.ndim == 3:
            channels = channel_names or [f"{name}_{i}" for i in range(values.shape[2])]
            header += [f"{channel}+{step}" for channel in channels for step in range(1, values.shape[1] + 1)]
            cells += [[_number(v) for v in column.tolist()] for column in values.permute(2, 1, 0).flatten(0, 1)]
        elif values.ndim > 1:
            # A name for each column, or else their numbers: a model of one's own may give columns of another kind.
            named_by = (names for names in (class_names, target_names) if names and len(names) == values.shape[1])
            labels: Sequence[str | int] = next(named_by, range(values.shape[1]))
            header += [f"{name}_{label}" for label in labels]
            cells += [[_number(v) for v in column.tolist()] for column in values.T]
        else:
            named = name == "prediction" and class_names is not None
            header.append(name)
            cells.append([class_names[v] if named and class_names else _number(v) for v in values.tolist()])
    writer.writerow(header)
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _number(value: float) -> str:
    """As many digits as a float32 has; whole numbers whole."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
