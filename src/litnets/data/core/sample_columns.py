"""The columns of predictions.csv that identify samples: their file or row, and their target."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from litnets.data.core.fingerprint import Fingerprint

# For each column, by its name: a text for each sample, or a list with a text for each step of a forecast.
Columns = Mapping[str, Sequence[str] | Sequence[list[str]]]

_OWN_COLUMNS = ("index", "file", "row", "target", "prediction", "probability", "set", "lower", "upper")

_POSITION = np.uint64(2**48 - 1)  # the bits of a row's name that hold its position in its file


def sources_of(samples: Fingerprint, indices: Tensor) -> Columns:
    """Return where samples were read: the column `file` with their paths, or `row` with their rows, counted from 1.

    Args:
        samples: Fingerprint of all samples.
        indices: Indices of the samples to describe.
    """
    if samples.is_positional:
        return {"row": [str(position + 1) for position in (samples.names[indices.numpy()] & _POSITION).tolist()]}
    return {samples.kind: [samples.describe(index) for index in indices.tolist()]}


def sources_of_new(files: Sequence[str] | None, size: int) -> Columns:
    """Return where new samples were read: `file` with its `row`, if a file holds several samples, or `row` alone.

    Args:
        files: The file of each sample; None if all are rows of one table.
        size: Number of samples.
    """
    if files is None:
        return {"row": [str(row) for row in range(1, size + 1)]}
    if len(set(files)) == len(files):
        return {"file": list(files)}
    counts = Counter[str]()
    rows = []
    for file in files:
        counts[file] += 1
        rows.append(str(counts[file]))
    return {"file": list(files), "row": rows}


def targets_of(
    targets: Tensor, class_names: Sequence[str] | None, target_names: Sequence[str] | None = None
) -> Columns:
    """Return the column `target`, or one column for each target or class if there are several.

    Args:
        targets: Class indices `(samples,)`, multi-label targets `(samples, classes)`, or values `(samples, targets)`.
        class_names: Names of the classes; None for values.
        target_names: Names of the values, if there are several.
    """
    if class_names is not None and targets.ndim == 1:
        return {"target": [class_names[target] for target in targets.tolist()]}
    columns = targets.unsqueeze(1) if targets.ndim == 1 else targets
    names = class_names or target_names or [str(i) for i in range(columns.shape[1])]
    headings = ["target"] if class_names is None and columns.shape[1] == 1 else [f"target_{name}" for name in names]
    return {heading: format_numbers(column) for heading, column in zip(headings, columns.T, strict=True)}


def carried(columns: Mapping[str, Sequence[str]], indices: Sequence[int] | None = None) -> Columns:
    """Return columns of the data for predictions.csv. One whose name predictions.csv uses itself is `id_NAME` there.

    Args:
        columns: The cells of each column.
        indices: The rows of the predicted samples; None for all.
    """
    return {
        f"id_{name}" if name in _OWN_COLUMNS else name: cells if indices is None else [cells[i] for i in indices]
        for name, cells in columns.items()
    }


def format_numbers(values: Tensor) -> list[str]:
    """Return numbers `(n,)` as texts, floats with the digits of a float32."""
    return [f"{value:.7g}" if isinstance(value, float) else str(value) for value in values.tolist()]
