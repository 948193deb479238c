"""The decision boundary in a report."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from litnets.analysis import predictor
from litnets.analysis.report.record import Record
from litnets.analysis.report.sections.boundary import boundary
from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import StoredInput, save_inputs
from tests.helpers.tiny_runs import write_run


def load(rows: list[dict[str, Any]]) -> Record:
    """Return the record of a run that has stored these test rows, of two classes."""
    run = write_run("1")
    run.best.touch()
    names = np.array(["left", "right"])[np.arange(len(rows)) % 2]
    frame = pl.DataFrame({"index": range(len(rows)), "target": names, "prediction": names})
    RecordedPredictions(frame, {"class_names": ["left", "right"]}).save(run.recorded_predictions("test"))
    contents = [json.dumps(row).encode() for row in rows]
    save_inputs(run.inputs, [StoredInput("test", i, "example", "row", content) for i, content in enumerate(contents)])
    return Record.load(run)


class ByFirstColumn:
    """Predict the second class where the first column is positive."""

    asked: pl.DataFrame

    @classmethod
    def load(cls, run: Any, device: str) -> "ByFirstColumn":
        return cls()

    def predict_proba(self, frame: pl.DataFrame) -> np.ndarray:
        ByFirstColumn.asked = frame
        is_right = (frame.to_series(0) > 0).to_numpy()
        return np.stack([np.where(is_right, 0.1, 0.9), np.where(is_right, 0.9, 0.1)], 1)


def test_two_columns_span_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "Predictor", ByFirstColumn)
    section = boundary(load([{"x": float(i - 6), "y": float(i % 3)} for i in range(13)]))
    assert section is not None
    svg = section.blocks[0].figures[0].svg  # type: ignore[union-attr]
    # Each of the 60 rows of the grid is one rectangle of the first class, then one of the second.
    assert svg.count('class="f0 o4"') == svg.count('class="f1 o4"') == 60
    assert ByFirstColumn.asked.columns == ["x", "y"]
    assert ByFirstColumn.asked["x"].abs().max() == pytest.approx(7.2 * 59 / 60)


def test_more_columns_are_shown_in_the_plane_of_their_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "Predictor", ByFirstColumn)
    generator = np.random.default_rng(0)
    first = generator.normal(size=40)
    section = boundary(load([{"a": 5 + x, "b": 2 * x, "c": 3.0} for x in first.tolist()]))  # one direction varies
    assert section is not None
    assert "component 1 (100%)" in section.blocks[0].figures[0].svg  # type: ignore[union-attr]
    asked = ByFirstColumn.asked
    assert asked["c"].to_numpy() == pytest.approx(np.full(3600, 3.0))
    off = (asked["a"] - 5 - asked["b"] / 2).to_numpy().reshape(60, 60)
    assert off[:, 0] - off[:, 59] == pytest.approx(np.zeros(60), abs=1e-6)  # along the first component


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": 1.0, "y": 2.0}] * 3,  # too few
        [{"x": 1.0, "city": "Paris"}] * 20,
        [{"x": 1.0, "y": None}] * 20,
        [{"x": float(i)} for i in range(20)],  # one column
    ],
)
def test_other_rows_have_no_boundary(rows: list[dict[str, Any]]) -> None:
    assert boundary(load(rows)) is None


def test_a_network_that_cannot_be_loaded_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Any, device: str) -> None:
        raise InputError("not trusted")

    monkeypatch.setattr(predictor.Predictor, "load", refuse)
    section = boundary(load([{"x": float(i), "y": float(i % 3)} for i in range(13)]))
    assert section is not None
    assert section.blocks[0].text == "The network cannot be loaded: not trusted"  # type: ignore[union-attr]
