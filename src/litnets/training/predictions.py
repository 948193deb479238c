"""Write predictions.csv: one row per sample, when prediction is done."""

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
from litnets.safety.escaping import csv_cell


class PredictionsCSV(BasePredictionWriter):
    """Gather the predictions of all processes and write them in the order of the samples.

    A task's `predict_step` returns named columns. The one called `prediction` is a class if the model has
    `class_names`. A column `(N, k)` becomes one column per class, or per target if the model has `target_names`. A
    forecast `(N, horizon, channels)` becomes the columns `OT+1`, `OT+2` ..., one per channel (named by the model's
    `channel_names`) and step ahead. If the data have `sample_names`, such as file names, they make a column too.

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
                raise InputError(f"predict_step: expected a tensor or a dict of tensors, got {kind}")
            columns = {name: torch.cat([batch[name] for batch in named]).cpu() for name in named[0]}
        # There is one loader; its indices come batch by batch.
        indices = [int(i) for batch in batch_indices[0] for i in batch]
        parts: list[Any] = [(indices, columns)]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, (indices, columns))
        if trainer.is_global_zero:
            facts = ("class_names", "target_names", "channel_names")
            names = [getattr(pl_module, fact, None) for fact in facts]
            samples = getattr(trainer.datamodule, "sample_names", None)  # type: ignore[attr-defined]
            each = {tuple(part[0]): part for part in parts if part[0]}  # once, if every process has read all samples
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
    """Return the CSV text of all rows, ordered by sample index.

    Names that a spreadsheet would run as a formula get an apostrophe in front; see `csv_cell`.
    """
    indices = torch.tensor([i for part, _ in parts for i in part])
    order = indices.argsort()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = indices[order].tolist()
    header, cells = ["index"], [rows]
    if sample_names is not None:
        header.append("file")
        cells.append([csv_cell(sample_names[i]) for i in rows])
    for name in parts[0][1] if parts else ():
        values = torch.cat([columns[name] for _, columns in parts])[order]
        if values.ndim == 3:
            channels = channel_names or [f"{name}_{i}" for i in range(values.shape[2])]
            header += [f"{channel}+{step}" for channel in channels for step in range(1, values.shape[1] + 1)]
            cells += [[_number(v) for v in column.tolist()] for column in values.permute(2, 1, 0).flatten(0, 1)]
        elif values.ndim > 1:
            # Name the columns by classes or targets, or number them: a user's model may return something else.
            named_by = (names for names in (class_names, target_names) if names and len(names) == values.shape[1])
            labels: Sequence[str | int] = next(named_by, range(values.shape[1]))
            header += [f"{name}_{label}" for label in labels]
            cells += [[_number(v) for v in column.tolist()] for column in values.T]
        else:
            named = name == "prediction" and class_names is not None
            header.append(name)
            cells.append([csv_cell(class_names[v]) if named and class_names else _number(v) for v in values.tolist()])
    writer.writerow(map(csv_cell, header))
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _number(value: float) -> str:
    """Format a float with the digits of a float32, and an integer as it is."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
