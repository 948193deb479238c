"""Views of recorded predictions as arrays, one for each kind of task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from litnets.runs.recorded_predictions import RecordedPredictions, to_probabilities


@dataclass(frozen=True)
class ClassPredictions:
    """The predictions of a classifier.

    Args:
        recorded: The recorded predictions.
    """

    recorded: RecordedPredictions

    @property
    def names(self) -> list[str]:
        return self.recorded.names

    @property
    def is_multilabel(self) -> bool:
        return bool(self.recorded.description.get("multilabel"))

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The class of each sample, `(N,)`, or 0 or 1 for each label, `(N, labels)`."""
        return self.recorded.class_indices("target")

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each sample, `(N,)`, or 0 or 1 for each label, `(N, labels)`."""
        return self.recorded.class_indices("prediction")

    @cached_property
    def probabilities(self) -> NDArray[np.float64] | None:
        """The probability of each class or label, `(N, classes)`; None if the outputs are not logits, or not finite."""
        return self._probabilities(self.recorded.description.get("temperature", 1.0))

    @cached_property
    def uncalibrated(self) -> NDArray[np.float64] | None:
        """The probabilities without the temperature, from which the test metrics are computed."""
        return self._probabilities(1.0)

    def _probabilities(self, temperature: float) -> NDArray[np.float64] | None:
        logits = self.recorded.values("logit")
        if logits is None:
            return None
        probabilities = to_probabilities(logits, self.is_multilabel, temperature)
        is_complete = probabilities.shape[1] == len(self.names) and bool(np.isfinite(probabilities).all())
        return probabilities if is_complete else None

    @cached_property
    def is_wrong(self) -> NDArray[np.bool_]:
        """Whether the prediction of each sample is wrong, for at least one of its labels, `(N,)`."""
        wrong: NDArray[np.bool_] = self.predictions != self.targets
        return np.asarray(wrong.any(1)) if self.is_multilabel else wrong

    @cached_property
    def one_hot(self) -> NDArray[np.bool_]:
        """Whether each sample belongs to each class, `(N, classes)`."""
        return self._to_one_hot(self.targets)

    @cached_property
    def predicted_one_hot(self) -> NDArray[np.bool_]:
        """Whether each sample is predicted to belong to each class, `(N, classes)`."""
        return self._to_one_hot(self.predictions)

    def _to_one_hot(self, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.is_multilabel:
            return classes.astype(bool)
        one_hot: NDArray[np.bool_] = classes[:, None] == np.arange(len(self.names))
        return one_hot

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix, `(classes, classes)`: targets in rows, predictions in columns."""
        size = len(self.names)
        cells = self.targets * size + self.predictions
        return np.bincount(cells, minlength=size * size).reshape(size, size)

    def labels(self, classes: NDArray[np.int64], row: int) -> str:
        """Return the name of the class of a sample, or the names of its labels."""
        if not self.is_multilabel:
            return str(self.names[classes[row]])
        return ", ".join(name for name, has in zip(self.names, classes[row], strict=True) if has) or "none"


@dataclass(frozen=True)
class ValuePredictions:
    """The predictions of numbers: of a regression, or of the steps of a forecast.

    Args:
        recorded: The recorded predictions.
    """

    recorded: RecordedPredictions

    @property
    def names(self) -> list[str]:
        """The names of the targets or channels."""
        return self.recorded.names or ["target"]

    @property
    def steps(self) -> int:
        """The steps of a forecast; 1 for a regression."""
        frame = self.recorded.frame
        return int(frame["step"].to_numpy().max()) if "step" in frame.columns and len(frame) else 1

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviation of each target in the training split, `(targets,)`."""
        description = self.recorded.description
        return np.asarray(description.get("target_std") or description.get("channel_std") or [1.0] * len(self.names))

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """The targets in the units of the data, `(N, steps, targets)`."""
        return self._values("target")

    @cached_property
    def predictions(self) -> NDArray[np.float64]:
        """The predictions in the units of the data, `(N, steps, targets)`."""
        return self._values("prediction")

    def _values(self, column: str) -> NDArray[np.float64]:
        values = self.recorded.values(column)
        assert values is not None
        return values.reshape(-1, self.steps, values.shape[1])

    @property
    def errors(self) -> NDArray[np.float64]:
        """Prediction minus target in standard deviations, `(N, steps, targets)`."""
        return (self.predictions - self.targets) / self.std


def sample_names(recorded: RecordedPredictions) -> Sequence[str]:
    """Return what identifies each row: its file, row, time or index."""
    frame = recorded.frame
    column = next(name for name in ("file", "row", "time", "index") if name in frame.columns)
    return [f"row {cell}" if column == "row" and str(cell).isdigit() else str(cell) for cell in frame[column].to_list()]
