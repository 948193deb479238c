"""Record: everything that a run folder says about its run. Whatever an older run lacks is empty or None."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.finished_run import FinishedRun
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.storage import check_types, damaged, read_json, read_text
from litnets.runs.stored_inputs import StoredInput, load_inputs


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
            _environment(run),
            _metrics(run.metrics),
            _predictions(run, "test"),
            _predictions(run, "val"),
            _json(run.data),
            _baselines(run),
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


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _environment(run: Run) -> dict[str, Any]:
    environment = _json(run.environment)
    types = {"attempts": "list", "versions": "object", "git": "object", "hardware": "object", "command": "string"}
    check_types(run.environment, environment, types)
    return environment


def _baselines(run: Run) -> dict[str, dict[str, float]]:
    baselines = _json(run.baselines)
    check_types(run.baselines, baselines, dict.fromkeys(baselines, "object"))
    for metrics in baselines.values():
        check_types(run.baselines, metrics, dict.fromkeys(metrics, "number"))
    return baselines


def _predictions(run: Run, part: str) -> RecordedPredictions | None:
    path = run.recorded_predictions(part)
    if not path.exists():
        return None
    predictions = RecordedPredictions.load(path)
    for start in ("index", "target", "prediction"):
        if not any(name.startswith(start) for name in predictions.frame.columns):
            raise damaged(path, f"it has no column {start}")
    return predictions


def _metrics(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.exists():
        return {}
    import polars as pl

    text = read_text(path)
    if not text.strip():
        return {}
    try:
        frame = pl.read_csv(BytesIO(text.encode()), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    numbers = frame.cast(pl.Float64, strict=False)
    return {name: numbers[name].fill_null(np.nan).to_numpy().astype(float) for name in numbers.columns}
