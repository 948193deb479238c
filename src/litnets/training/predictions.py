"""Write predictions.csv after prediction: one row per sample, or per step of a forecast."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from litnets.errors import InputError
from litnets.runs.recorded_predictions import join_set
from litnets.runs.storage import write_text
from litnets.safety.escaping import csv_cell

Cells = Sequence[Any]  # one cell per sample; for a forecast, a cell may be a list with one entry per step


class PredictionsCSV(BasePredictionWriter):
    """Gather the predictions of all processes and write them in the order of the samples.

    The columns are the `index` of the sample, the DataModule's `predicted_columns` (such as its file or row, and its
    target), and the outputs of the task's `predict_step` by name:

    - `prediction` is the name of a class if the model has `class_names`.
    - `(N, k)` becomes a column for each class, or for each target if the model has `target_names`. The column
      `probability`, of the predicted class, comes before the probabilities of all classes.
    - A prediction set, which is boolean, becomes the names of its classes, separated by `|`.
    - A forecast `(N, horizon, channels)` becomes a column for each channel (`channel_names` of the model), with one row
      for each step, which `step` counts from 1.

    Args:
        path: The file, which the first process writes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="epoch")
        self.path = path

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
            names = [getattr(pl_module, name, None) for name in ("class_names", "target_names", "channel_names")]
            samples = getattr(trainer.datamodule, "predicted_columns", None)  # type: ignore[attr-defined]
            # If every process has read all samples, their parts are equal, and one of them is used.
            distinct_parts = {tuple(part[0]): part for part in parts if part[0]}
            write_text(self.path, table(list(distinct_parts.values()), *names, samples=samples))


def table(
    parts: Sequence[tuple[list[int], dict[str, Tensor]]],
    class_names: Sequence[str] | None,
    target_names: Sequence[str] | None = None,
    channel_names: Sequence[str] | None = None,
    *,
    samples: Mapping[str, Cells] | None = None,
) -> str:
    """Return the CSV text of all rows, ordered by sample index; see `prediction_columns`."""
    return to_csv(prediction_columns(parts, class_names, target_names, channel_names, samples=samples))


def to_csv(columns: Mapping[str, Cells], header: bool = True) -> str:
    """Return the CSV text of columns.

    A text that a spreadsheet would run as a formula gets an apostrophe in front; see `csv_cell`.

    Args:
        columns: The cells by name.
        header: Whether the first line names the columns.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(map(csv_cell, columns))
    writer.writerows(zip(*([_cell(value) for value in cells] for cells in columns.values()), strict=True))
    return text.getvalue()


def prediction_columns(
    parts: Sequence[tuple[list[int], dict[str, Tensor]]],
    class_names: Sequence[str] | None,
    target_names: Sequence[str] | None = None,
    channel_names: Sequence[str] | None = None,
    *,
    samples: Mapping[str, Cells] | None = None,
) -> dict[str, Cells]:
    """Return the columns of all rows, ordered by sample index.

    Args:
        parts: For each process, the indices of its samples, and the predictions by name.
        class_names: Names of the classes.
        target_names: Names of the targets of a regression.
        channel_names: Names of the channels of a forecast.
        samples: The columns that identify the samples, by name. A cell is a text, or a list of texts with one for each
            step of the forecast.
    """
    indices = torch.tensor([i for part, _ in parts for i in part])
    order = indices.argsort()
    rows = indices[order].tolist()
    columns: dict[str, Cells] = {"index": rows}
    predictions = {
        name: torch.cat([values[name] for _, values in parts])[order] for name in (parts[0][1] if parts else ())
    }
    horizon = max((values.shape[1] for values in predictions.values() if values.ndim == 3), default=None)
    if horizon is not None:
        columns["step"] = [list(range(1, horizon + 1))] * len(rows)
    for name, cells in (samples or {}).items():
        columns[name] = [cells[i] for i in rows]
    for name, values in predictions.items():
        if values.dtype == torch.bool:
            columns[name] = _class_sets(values, class_names)
        elif values.ndim == 3:
            columns |= _columns_of_channels(name, values, channel_names)
        elif values.ndim > 1:
            if name == "probability" and (predicted := predictions.get("prediction")) is not None:
                columns |= _probability_of_prediction(values, predicted)
            columns |= _columns_of_outputs(name, values, class_names, target_names)
        elif name == "prediction" and class_names is not None:
            columns[name] = [class_names[value] for value in values.tolist()]
        else:
            columns[name] = values.tolist()
    if horizon is not None:
        columns = {name: _per_step(cells, horizon) for name, cells in columns.items()}
    return columns


def _columns_of_channels(name: str, values: Tensor, channel_names: Sequence[str] | None) -> dict[str, Cells]:
    """Return a column for each channel of a forecast `(N, horizon, channels)`."""
    channels = channel_names or range(values.shape[2])
    return {f"{name}_{channel}": column.tolist() for channel, column in zip(channels, values.unbind(2), strict=True)}


def _class_sets(sets: Tensor, class_names: Sequence[str] | None) -> Cells:
    """Return the names of the classes in each set, `(N, classes)`."""
    names = class_names or [str(i) for i in range(sets.shape[1])]
    return [join_set(compress(names, row)) for row in sets.tolist()]


def _columns_of_outputs(name: str, values: Tensor, *names: Sequence[str] | None) -> dict[str, Cells]:
    """Return a column for each class or target of `(N, k)`, numbered if no `names` have the length k."""
    fitting = (labels for labels in names if labels and len(labels) == values.shape[1])
    labels = next(fitting, range(values.shape[1]))
    return {f"{name}_{label}": column.tolist() for label, column in zip(labels, values.T, strict=True)}


def _probability_of_prediction(probabilities: Tensor, predicted: Tensor) -> dict[str, Cells]:
    """Return the column `probability`, of the predicted class, or no column for multi-label targets."""
    if predicted.ndim > 1 or predicted.is_floating_point() or int(predicted.max()) >= probabilities.shape[1]:
        return {}
    return {"probability": probabilities.gather(1, predicted.unsqueeze(1)).squeeze(1).tolist()}


def _per_step(cells: Cells, horizon: int) -> Cells:
    """Return a cell for each step of each sample. A cell that is not a list is repeated for each step."""
    return [step for cell in cells for step in (cell if isinstance(cell, list) else [cell] * horizon)]


def _cell(value: Any) -> str:
    """Format a float with the digits of a float32, and escape a text."""
    if isinstance(value, float):
        return f"{value:.7g}"
    return csv_cell(value) if isinstance(value, str) else str(value)
