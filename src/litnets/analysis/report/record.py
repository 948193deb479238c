"""Record: everything that a run folder says about its run. Whatever an older run lacks is empty or None."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.finished_run import FinishedRun
from litnets.runs.folder import Run
from litnets.runs.metrics import read_metrics
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.storage import JsonType, check_types, damaged, read_json
from litnets.runs.stored_inputs import StoredInput, load_inputs

_ENVIRONMENT: JsonType = {
    "attempts?": [{"*?": "any"}],
    "versions?": {"*?": "any"},
    "git?": {"*?": "any"},
    "hardware?": {"gpus?": ["any"], "*?": "any"},
    "command?": "string",
}
_NUMBERS: JsonType = {"mean?": "number", "std?": "number", "min?": "number", "max?": "number", "*?": "any"}
_DATA: JsonType = {
    "source?": {"*?": "any"},
    "class_names?": ["any"],
    "splits?": {
        "*": {"samples?": "number", "class_counts?": ["number"], "targets?": {"*": _NUMBERS}, "inputs?": {"*": "any"}}
    },
    "columns?": [{"values?": _NUMBERS, "categories?": {"*": "number"}, "*?": "any"}],
}
_BASELINES: JsonType = {"*": {"*?": "number"}}


@dataclass(frozen=True)
class Record:
    """What a run folder says about its run.

    Args:
        run: The run folder.
        finished: Its configuration and results.
        environment: environment.json.
        metrics: metrics.csv, a column of numbers for each name. A cell without a value is NaN.
        test: The predictions for the test split.
        val: The predictions for the validation split.
        data: data.json.
        baselines: baselines.json: the test metrics of simple baselines.
        inputs: inputs.parquet.
    """

    run: Run
    finished: FinishedRun
    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    test: RecordedPredictions | None = None
    val: RecordedPredictions | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    inputs: Sequence[StoredInput] = ()

    @classmethod
    def load(cls, run: Run) -> "Record":
        """Read a run folder.

        Raises:
            InputError: A file is damaged.
        """
        return cls(
            run,
            FinishedRun.load(run),
            _json(run.environment, _ENVIRONMENT),
            _metrics(run),
            _predictions(run, "test"),
            _predictions(run, "val"),
            _json(run.data, _DATA),
            _json(run.baselines, _BASELINES),
            load_inputs(run.inputs) if run.inputs.exists() else [],
        )

    @property
    def name(self) -> str:
        """The names of the experiment and the run."""
        folder = self.run.folder.resolve()
        return f"{folder.parent.name} / {folder.name}"

    @property
    def results(self) -> Mapping[str, Any]:
        return self.finished.results

    @property
    def test_metrics(self) -> dict[str, float]:
        """The overall test metrics; empty if the run was not tested."""
        return self.finished.test if self.results.get("test") else {}

    @property
    def description(self) -> Mapping[str, Any]:
        """The description of the recorded test predictions."""
        return {} if self.test is None else self.test.description

    def class_of(self, part: str) -> str:
        """Return the name of the class of the `model` or the `data`."""
        return str(self.finished.config.get(f"{part}.class_path") or "").rpartition(".")[2]


def _json(path: Path, expected: JsonType) -> dict[str, Any]:
    content = read_json(path) if path.exists() else {}
    check_types(path, content, expected)
    return content


def _predictions(run: Run, part: str) -> RecordedPredictions | None:
    path = run.recorded_predictions(part)
    if not path.exists():
        return None
    predictions = RecordedPredictions.load(path)
    for start in ("index", "target", "prediction"):
        if not any(name.startswith(start) for name in predictions.frame.columns):
            raise damaged(path, f"it has no column {start}")
    return predictions


def _metrics(run: Run) -> dict[str, NDArray[np.float64]]:
    columns = {column.name: column.fill_null(np.nan).to_numpy() for column in read_metrics(run.metrics)}
    largest = np.finfo(np.float32).max  # metrics are computed in float32; larger numbers cannot be drawn
    return {name: np.where(np.abs(values) < largest, values, np.nan) for name, values in columns.items()}
