"""The decision boundary of a classifier of rows of numbers: over two columns, or in a plane through the data."""

import json
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.report.blocks import Block, Figures, Note, Section
from litnets.analysis.report.predictions import ClassPredictions
from litnets.analysis.report.record import Record
from litnets.analysis.report.scales import value_range
from litnets.analysis.report.svg import COLORS, Axes, Figure, dots, rectangle
from litnets.errors import InputError

_GRID = 60  # points in each direction
_MIN_ROWS = 10
_LEVELS = 4  # of the opacity, which shows the probability


class _Plane(NamedTuple):
    """A plane through the data.

    Args:
        origin: A point of it, `(columns,)`.
        axes: The change of each column along the two directions, `(2, columns)`.
        names: Names of the directions.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    names: tuple[str, str]


def boundary(record: Record) -> Section | None:
    """Build the section with the decision boundary; None if the stored inputs are not rows of numbers.

    This is the only section that uses the network. It is loaded from the best checkpoint.
    """
    if record.test is None or "class_names" not in record.description or not record.run.best.exists():
        return None
    predictions = ClassPredictions(record.test)
    rows = _rows(record)
    if predictions.is_multilabel or not 2 <= len(predictions.names) <= COLORS or len(rows) < _MIN_ROWS:
        return None
    columns = list(next(iter(rows.values())))
    values = np.array([list(row.values()) for row in rows.values()], float)  # (rows, columns)
    if len(columns) < 2:
        return None
    plane = _choose_plane(values, columns)
    points = np.stack([(values - plane.origin) @ axis / (axis @ axis) for axis in plane.axes], 1)
    index = record.test.frame["index"].to_list()
    target_of = dict(zip(index, predictions.targets.tolist(), strict=True))
    targets = np.array([target_of[position] for position in rows])
    try:
        figure = _draw(record, plane, columns, points, targets)
    except InputError as error:
        return Section("Decision boundary", [Note(f"The network cannot be loaded: {error}")])
    blocks: list[Block] = [Figures([figure])]
    return Section("Decision boundary", blocks)


def _rows(record: Record) -> dict[int, dict[str, float]]:
    """Return the stored test rows by their position in the split; empty unless every cell is a number."""
    assert record.test is not None
    known = set(record.test.frame["index"].to_list())
    rows: dict[int, dict[str, float]] = {}
    for one in record.inputs:
        if one.split != "test" or one.index not in known:
            continue
        row: Any = json.loads(one.content) if one.kind == "row" else None
        if not isinstance(row, dict) or not all(isinstance(cell, int | float) for cell in row.values()):
            return {}
        rows[one.index] = row
    return rows


def _choose_plane(values: NDArray[np.float64], columns: list[str]) -> _Plane:
    """Return the plane of two columns, or of the first two principal components of the standardized columns."""
    if len(columns) == 2:
        return _Plane(np.zeros(2), np.eye(2), (columns[0], columns[1]))
    mean, std = values.mean(0), values.std(0)
    std[std == 0] = 1
    _, sizes, directions = np.linalg.svd((values - mean) / std, full_matrices=False)
    directions = directions[:2] * np.sign(directions[:2, :1] + 1e-12)  # the sign of a direction is arbitrary
    fractions = sizes[:2] ** 2 / (sizes**2).sum()
    first, second = (f"component {i + 1} ({fraction:.0%})" for i, fraction in enumerate(fractions))
    return _Plane(mean, directions * std, (first, second))


def _draw(
    record: Record, plane: _Plane, columns: list[str], points: NDArray[np.float64], targets: NDArray[np.int64]
) -> Figure:
    """Return the figure of the class that the network predicts for each point of a grid in the plane."""
    import polars as pl

    from litnets.analysis.predictor import Predictor  # here, because it imports torch and Lightning

    limits = []
    for coordinates in points.T:
        low, high = value_range(coordinates)
        limits.append((low - 0.1 * (high - low), high + 0.1 * (high - low)))
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = (low + (high - low) * steps for low, high in limits)
    grid = plane.origin + x[None, :, None] * plane.axes[0] + y[:, None, None] * plane.axes[1]  # (GRID, GRID, columns)
    predictor = Predictor.load(record.run, device="cpu")
    flat = grid.reshape(-1, len(columns))
    probabilities = predictor.predict_proba(pl.DataFrame(flat, schema=columns))
    classes = probabilities.argmax(1).reshape(_GRID, _GRID)
    sureness = np.ceil(probabilities.max(1) * _LEVELS).astype(int).reshape(_GRID, _GRID)
    axes = Axes(limits[0], limits[1])
    width, height = ((axes.x(x[1]) - axes.x(x[0])), (axes.y(y[0]) - axes.y(y[1])))
    for row in range(_GRID):
        keys = classes[row] * (_LEVELS + 1) + sureness[row]
        starts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), _GRID]
        for start, end in pairwise(starts):  # one rectangle for equal neighbors
            css = f"f{classes[row, start]} o{sureness[row, start]}"
            left, top = axes.x(x[start]) - width / 2, axes.y(y[row]) - height / 2
            axes.parts.append(rectangle(left, top, width * (end - start), height, css))
    axes.frame(*plane.names)
    names = record.description["class_names"]
    for index in range(len(names)):
        chosen = points[targets == index]
        pairs = list(zip(axes.x(chosen[:, 0]).tolist(), axes.y(chosen[:, 1]).tolist(), strict=True))
        axes.parts.append(dots(pairs, index, radius=2.5))
    caption = (
        "Areas: the predicted class, stronger where it is more probable. Dots: some test samples, including the worst "
        "mistakes, in the color of their class."
    )
    if len(columns) > 2:
        caption += " The samples are projected onto the plane of the first two principal components."
    return Figure("Predicted class", axes.draw(), caption, [(str(name), index) for index, name in enumerate(names)])
