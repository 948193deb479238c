"""test_predictions.parquet and val_predictions.parquet: what the tested checkpoint predicted for each sample.

    predictions = RecordedPredictions.load(run.recorded_predictions("test"))
    predictions.frame["loss"].mean()

A report on a run reads these files and needs neither its network nor its data. The rows are in the order of the split.
Columns:

    index           position of the sample in the split
    file, row, time what identifies the sample; then the data's `id_columns`
    step            the step of a forecast, from 1; a forecast has a row for each step
    target          the name of the class, or a value in the units of the data
    prediction      the predicted class or value
    probability     the probability of the predicted class
    logit_CLASS     the network's output; its softmax (its sigmoid for labels or a single logit) is the probability
    loss            the loss of the sample
    loss_weight     the weight of the sample in the mean loss, if weights differ

With several labels, targets or channels, there is a column for each, such as `target_NAME`.

A segmentation has a row for each image, with `index`, `file`, `loss`, `loss_weight` and

    pixels          the number of pixels that count
    accuracy        the fraction of them whose predicted class is the target
    mean_iou        the mean of the intersection over union of the classes
    iou_CLASS       intersection over union of the class; NaN if the image has no such pixel and none was predicted
    target_fraction_CLASS, prediction_fraction_CLASS
                    the fraction of the pixels that belong to the class, and that are predicted as the class
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litnets.runs.storage import damaged, not_written
from litnets.safety import files

if TYPE_CHECKING:
    import polars

MAX_ROWS = 1_000_000
MAX_BYTES = 200_000_000

_KEY = "litnets"  # key of the description in the file's metadata


@dataclass
class RecordedPredictions:
    """The predictions for the samples of a split.

    Args:
        frame: A row for each sample, or for each step of a forecast.
        description: The `split`, the number of evaluated `samples`, the number of them that are `recorded` in the
            frame, and the task's description, such as `class_names`.
    """

    frame: "polars.DataFrame"
    description: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "RecordedPredictions":
        """Read a file.

        Raises:
            FileNotFoundError: There is no such file.
            InputError: The file is damaged.
        """
        import polars as pl

        with files.open_regular(path) as file:
            try:
                description = json.loads(pl.read_parquet_metadata(file)[_KEY])
                file.seek(0)
                return cls(pl.read_parquet(file), description)
            except (pl.exceptions.PolarsError, KeyError, ValueError) as error:
                raise damaged(path, " ".join(str(error).split())[:200]) from error

    def save(self, path: Path) -> None:
        """Write the file completely or not at all.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            with files.replacing(path) as file:
                self.frame.write_parquet(file, metadata={_KEY: json.dumps(self.description)})
        except OSError as error:
            raise not_written(path, error) from error


def choose_samples(size: int, rows_per_sample: int, bytes_per_sample: float) -> NDArray[np.bool_]:
    """Return a mask of the samples to record, `(size,)`: all, or as many as MAX_ROWS and MAX_BYTES allow.

    They are chosen at random with a fixed seed, so that every process chooses the same samples.
    """
    limit = min(MAX_ROWS // rows_per_sample, int(MAX_BYTES / bytes_per_sample))
    if size <= limit:
        return np.ones(size, bool)
    mask = np.zeros(size, bool)
    mask[np.random.default_rng(0).permutation(size)[: max(limit, 1)]] = True
    return mask


def build_frame(
    indices: NDArray[np.int64],
    identification: Mapping[str, Sequence[Any]],
    results: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    class_names: Sequence[str] | None,
) -> "polars.DataFrame":
    """Return a frame with one row per sample, or per step of a forecast.

    Args:
        indices: Position of each sample in its split, `(N,)`.
        identification: The columns that identify the samples, by name. A cell is a text, or a list of texts with one
            for each step.
        results: The results by name: `(N,)`, `(N, k)` with a column for each of `names`, or `(N, steps, channels)`.
        names: Names of the classes, targets or channels.
        class_names: Names that replace the class indices in `target` and `prediction`; None for values.
    """
    import polars as pl

    steps = next((values.shape[1] for values in results.values() if values.ndim == 3), None)
    columns: dict[str, Any] = {"index": indices}
    if steps is not None:
        columns["step"] = np.tile(np.arange(1, steps + 1), len(indices))
    numbers: dict[str, Any] = {}
    for name, values in results.items():
        if values.ndim == 3:
            numbers |= {f"{name}_{label}": values[..., i].reshape(-1) for i, label in enumerate(names)}
        elif values.ndim == 2 and values.shape[1] > 1:
            numbers |= {f"{name}_{label}": values[:, i] for i, label in enumerate(names)}
        elif class_names is not None and name in ("target", "prediction"):
            numbers[name] = pl.Series(class_names, dtype=pl.String).gather(values.reshape(-1))
        else:
            numbers[name] = values.reshape(len(indices))
    for name, cells in identification.items():
        flat = [cell for row in cells for cell in row] if cells and isinstance(cells[0], list) else list(cells)
        columns[f"id_{name}" if name in numbers or name in columns else name] = flat
    columns |= numbers
    if steps is not None:
        size = steps * len(indices)
        columns = {name: cells if len(cells) == size else _repeat(cells, steps) for name, cells in columns.items()}
    return pl.DataFrame(columns)


def _repeat(cells: Sequence[Any] | NDArray[Any], steps: int) -> NDArray[Any] | list[Any]:
    """Repeat the cell of each sample for each of its steps."""
    if isinstance(cells, np.ndarray):
        return np.repeat(cells, steps)
    return [cell for cell in cells for _ in range(steps)]
