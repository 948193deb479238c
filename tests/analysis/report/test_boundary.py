"""The predictions over a plane of inputs in a report."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from markupsafe import Markup

from litnets.analysis import predictor
from litnets.analysis.report.blocks import Figures, Note, Section
from litnets.analysis.report.record import Record
from litnets.analysis.report.sections import boundary as module
from litnets.analysis.report.sections.boundary import boundary
from litnets.analysis.report.svg import Figure
from litnets.errors import InputError
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import StoredInput, save_inputs
from tests.helpers.tiny_runs import record_masks, write_run


def load(rows: list[dict[str, Any]], is_regression: bool = False) -> Record:
    """Return the record of a run that has stored these test rows, of two classes or with the targets 0, 1, 2, ..."""
    run = write_run("1")
    run.best.touch()
    targets: Any = np.array(["left", "right"])[np.arange(len(rows)) % 2]
    if is_regression:
        targets = np.arange(float(len(rows)))
    frame = pl.DataFrame({"index": range(len(rows)), "target": targets, "prediction": targets})
    description = {"target_std": [1.0]} if is_regression else {"class_names": ["left", "right"]}
    RecordedPredictions(frame, description).save(run.recorded_predictions("test"))
    contents = [json.dumps(row).encode() for row in rows]
    save_inputs(run.inputs, [StoredInput("test", i, "example", "row", content) for i, content in enumerate(contents)])
    return Record.load(run)


def rows_of_two_columns(count: int = 13) -> list[dict[str, Any]]:
    return [{"x": float(i - 6), "y": float(i % 3)} for i in range(count)]


def figures(section: Section | None) -> list[Figure]:
    assert section is not None
    first = section.blocks[0]
    assert isinstance(first, Figures)
    return list(first.figures)


def cells(svg: Markup, css: str) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of the rectangles of a color."""
    found = re.search(f'<path class="{css}" d="([^"]*)"/>', svg)
    assert found is not None
    corners = re.findall(r"M([\d.]+),([\d.]+)H([\d.]+)V([\d.]+)H", found[1])
    return [(float(x), float(top), float(right), float(bottom)) for x, bottom, right, top in corners]


class ByFirstColumn:
    """Predict the second class where the first column is positive; as a regression, the first column."""

    asked: pl.DataFrame

    @classmethod
    def load(cls, run: Any, checkpoint: Path, device: str) -> "ByFirstColumn":
        if "damaged" in checkpoint.read_text():
            raise InputError(f"checkpoint {checkpoint} is damaged")
        return cls()

    def predict_proba(self, frame: pl.DataFrame) -> np.ndarray:
        ByFirstColumn.asked = frame
        is_right = (frame.to_series(0) > 0).to_numpy()
        return np.stack([np.where(is_right, 0.1, 0.9), np.where(is_right, 0.9, 0.1)], 1)

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        return frame.to_series(0).to_numpy()


@pytest.fixture(autouse=True)
def predict_by_first_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "Predictor", ByFirstColumn)


def test_two_columns_span_the_plane() -> None:
    (figure,) = figures(boundary(load(rows_of_two_columns())))
    # Each of the 60 rows of the grid is one rectangle of the first class, then one of the second.
    left, right = cells(figure.svg, "f0 o4"), cells(figure.svg, "f1 o4")
    assert len(left) == len(right) == 60
    assert {one[2] for one in left} == {one[0] for one in right} == {205.0}  # x = 0 is in the middle of 62 to 348
    assert min(one[1] for one in left) == 8.0
    assert ByFirstColumn.asked.columns == ["x", "y"]
    assert ByFirstColumn.asked["x"].abs().max() == pytest.approx(7.2 * 59 / 60)


def test_more_columns_are_shown_in_the_plane_of_their_principal_components() -> None:
    first = np.random.default_rng(0).normal(size=40)
    rows = [{"a": 5 + x, "b": 2000 * x, "c": 3.0} for x in first.tolist()]  # one direction varies
    (figure,) = figures(boundary(load(rows)))
    assert "component 1 (100%)" in figure.svg
    asked = ByFirstColumn.asked
    assert asked["c"].to_numpy() == pytest.approx(np.full(3600, 3.0))
    off = (asked["a"] - 5 - asked["b"] / 2000).to_numpy().reshape(60, 60)
    assert off[:, 0] - off[:, 59] == pytest.approx(np.zeros(60), abs=1e-6)  # along the first component


def test_samples_are_projected_in_standard_deviations() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)) @ np.array([[1, 50, 0], [0, 100, 0.1], [0, 0, 0.02]])
    plane = module._Plane.through(values, ["a", "b", "c"])
    projected = plane.origin + plane.points @ plane.axes
    off = (values - projected) / values.std(0)
    assert off @ (plane.axes / values.std(0)).T == pytest.approx(np.zeros((40, 2)), abs=1e-9)  # orthogonal to the plane


def test_values_have_the_color_of_a_scale_over_the_targets() -> None:
    section = boundary(load(rows_of_two_columns(), is_regression=True))
    assert section is not None
    assert section.title == "Predictions over the inputs"
    (figure,) = figures(section)
    assert figure.title == "Predicted target"
    # The targets are 0 to 12 and the predictions -7.2 to 7.2, so the lower half has the first of 12 colors.
    lowest = cells(figure.svg, "v0")
    assert (lowest[0][0], len(lowest)) == (62.0, 60)
    assert lowest[0][2] == pytest.approx(62 + (292 - 62) * 8.2 / 14.4, abs=2)
    assert 'class="v8" d' not in figure.svg
    assert figure.svg.count('class="p solid w') == 12


def test_kept_epochs_are_animated(monkeypatch: pytest.MonkeyPatch) -> None:
    record = load(rows_of_two_columns())
    Path(record.run.folder, "epochs").mkdir()
    for epoch in (0, 2, 10):
        record.run.kept_epoch(epoch).touch()
    section = boundary(record)
    _, animation = figures(section)
    assert re.findall(r">epoch (\d+)<", animation.svg) == ["0", "2", "10"]
    assert animation.svg.count('class="film ') == 3
    assert animation.svg.count('class="film last"') == 1
    # A frame is shown for one of the six parts of the time, the last one for four.
    assert "film-3{0%{visibility:visible}16.67%{visibility:hidden}}" in animation.svg
    assert "last-3{0%{visibility:visible}66.67%{visibility:hidden}}" in animation.svg
    assert boundary(record) == section

    monkeypatch.setattr(module, "_MAX_ANIMATION_BYTES", 100)
    assert note(boundary(record)).startswith("The animation over the epochs is left out, because the page")
    record.run.kept_epoch(2).write_text("damaged")
    assert note(boundary(record)).endswith("epoch_2.ckpt is damaged")


def note(section: Section | None) -> str:
    assert section is not None
    last = section.blocks[-1]
    assert isinstance(last, Note)
    return last.text


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": 1.0, "y": 2.0}] * 3,  # too few
        [{"x": 1.0, "city": "Paris"}] * 20,
        [{"x": 1.0, "y": None}] * 20,
        [{"x": float(i)} for i in range(20)],  # one column
        [{"x": 1.0, "y": 2.0}] * 19 + [{"x": 1.0}],
        [{"x": 1.0, "y": float("nan")}] * 20,
        [{"x": 1.0, "y": 10**400}] * 20,
    ],
)
@pytest.mark.parametrize("is_regression", [False, True])
def test_other_rows_have_no_boundary(rows: list[dict[str, Any]], is_regression: bool) -> None:
    assert boundary(load(rows, is_regression)) is None


def test_a_network_that_cannot_be_loaded_is_noted() -> None:
    record = load(rows_of_two_columns())
    record.run.best.write_text("damaged")
    assert note(boundary(record)) == f"The network cannot be loaded: checkpoint {record.run.best} is damaged"


def test_a_segmentation_has_no_boundary() -> None:
    run = write_run("1")
    run.best.touch()
    record_masks(run, [0, 10, 20])
    save_inputs(run.inputs, [StoredInput("test", 0, "example", "image", b"")])
    assert boundary(Record.load(run)) is None
