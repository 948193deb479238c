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
    probability     the probability of the predicted class, calibrated if the run is
    set             the classes in the prediction set of a calibrated run, separated by `|`; in the test file only
    lower, upper    the bounds of the prediction interval of a calibrated run; in the test file only
    logit_CLASS     the network's output; divided by the temperature of a calibrated run, its softmax (its sigmoid for
                    labels or a single logit) is the probability
    loss            the loss of the sample
    loss_weight     the weight of the sample in the mean loss, if weights differ
    slice_NAME      a value to slice the results by, such as `slice_length` or, for a table, `slice_COLUMN`

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from litnets.runs.storage import JsonType, check_types, damaged, not_written
from litnets.safety import files

if TYPE_CHECKING:
    import polars

MAX_ROWS = 1_000_000
MAX_BYTES = 200_000_000

_KEY = "litnets"  # key of the description in the file's metadata

_DESCRIPTION: JsonType = {
    "samples?": "number",
    "recorded?": "number",
    "temperature?": "number",
    "multilabel?": "boolean",
    **{f"{kind}_names?": ["string"] for kind in ("class", "target", "channel")},
    **{f"{kind}_std?": ["number"] for kind in ("target", "channel")},
}


@dataclass
class RecordedPredictions:
    """The predictions for the samples of a split.

    Args:
        frame: A row for each sample, or for each step of a forecast.
        description: The `split`, the number of evaluated `samples`, the number of them that are `recorded` in the
            frame, the `temperature` of a calibrated classifier, and the task's description, such as `class_names`.
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
                frame = pl.read_parquet(file)
            except (pl.exceptions.PolarsError, KeyError, ValueError) as error:
                raise damaged(path, " ".join(str(error).split())[:200]) from error
        check_types(path, description, _DESCRIPTION, "description")
        predictions = cls(frame, {name: value for name, value in description.items() if value is not None})
        if problem := predictions._problem():
            raise damaged(path, problem)
        return predictions

    def _problem(self) -> str | None:
        """Return the problem with a value that `build_frame` cannot have written; None if there is none."""
        temperature = self.description.get("temperature", 1.0)
        if temperature <= 0:
            return f"expected a temperature above 0, got {temperature}"
        is_classified = bool(self.description.get("class_names")) and not self.description.get("multilabel")
        for kind in ("logit", "probability", "loss", *(() if is_classified else ("target", "prediction"))):
            for name in self.columns(kind):
                if not self.frame[name].dtype.is_numeric():
                    return f"{name}: expected numbers, got {self.frame[name].dtype}"
        if is_classified:
            for name in {"target", "prediction"} & set(self.frame.columns):
                if unknown := set(self.frame[name].unique().to_list()) - set(self.names):
                    return f"{name}: there is no class {str(unknown.pop())!r}"
        return None

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

    @property
    def names(self) -> list[str]:
        """Names of the classes, targets or channels."""
        described = (self.description.get(f"{kind}_names") for kind in ("class", "target", "channel"))
        return next((names for names in described if names), [])

    def columns(self, name: str) -> list[str]:
        """Return the columns of a result such as `logit`: one for each of `names`, or a single one, or none."""
        columns = [f"{name}_{label}" for label in self.names]
        if not columns or not set(columns) <= set(self.frame.columns):
            columns = [name]
        return columns if set(columns) <= set(self.frame.columns) else []

    def values(self, name: str) -> NDArray[np.float64] | None:
        """Return recorded numbers, such as `logit`, `(rows, k)`; None if they are not recorded."""
        columns = self.columns(name)
        return self.frame.select(columns).to_numpy().astype(np.float64) if columns else None

    def class_indices(self, name: str) -> NDArray[np.int64]:
        """Return the `target` or `prediction` of each sample: the index of its class, `(N,)`; for several labels, 0 or
        1 for each of them, `(N, k)`."""
        if self.description.get("multilabel"):
            return self.frame.select(self.columns(name)).to_numpy().astype(np.int64)
        index = {name: i for i, name in enumerate(self.names)}
        return np.array([index[name] for name in self.frame[name]], np.int64)

    def probabilities(self) -> NDArray[np.float64] | None:
        """Return the probability of each class or label, `(N, k)`, calibrated if the run is.

        The result is None if no logits are recorded.
        """
        logits = self.values("logit")
        if logits is None:
            return None
        temperature = self.description.get("temperature", 1.0)
        return to_probabilities(logits, bool(self.description.get("multilabel")), temperature)


def to_probabilities(logits: NDArray[np.float64], multilabel: bool, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probability of each class or label.

    Args:
        logits: A logit per class or label, `(N, k)`; or, of two classes, only that of the second one, `(N, 1)`.
        multilabel: Whether a sample may have several labels.
        temperature: Divides the logits.
    """
    scaled = logits / temperature
    if multilabel:
        return np.asarray(expit(scaled))
    if scaled.shape[1] == 1:
        return np.concatenate([expit(-scaled), expit(scaled)], axis=1)
    return np.asarray(softmax(scaled, axis=1))


def join_set(names: Iterable[str]) -> str:
    """Return the cell for a prediction set."""
    return "|".join(names)


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
    slices: Mapping[str, Sequence[Any]] | None = None,
) -> "polars.DataFrame":
    """Return a frame with one row per sample, or per step of a forecast.

    Args:
        indices: Position of each sample in its split, `(N,)`.
        identification: The columns that identify the samples, by name. A cell is a text, or a list of texts with one
            for each step.
        results: The results by name: `(N,)`, `(N, k)` with a column for each of `names`, or `(N, steps, channels)`.
        names: Names of the classes, targets or channels.
        class_names: Names that replace the class indices in `target` and `prediction`; None for values.
        slices: Values of the samples to slice the results by, by name.
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
    columns |= {f"slice_{name}": list(cells) for name, cells in (slices or {}).items()}
    if steps is not None:
        size = steps * len(indices)
        columns = {name: cells if len(cells) == size else _repeat(cells, steps) for name, cells in columns.items()}
    return pl.DataFrame(columns)


def _repeat(cells: Sequence[Any] | NDArray[Any], steps: int) -> NDArray[Any] | list[Any]:
    """Repeat the cell of each sample for each of its steps."""
    if isinstance(cells, np.ndarray):
        return np.repeat(cells, steps)
    return [cell for cell in cells for _ in range(steps)]
