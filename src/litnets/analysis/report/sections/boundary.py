"""What the network predicts over a plane of inputs: two columns or principal components; also over the epochs."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from litnets.analysis.report.blocks import Block, Figures, Note, Section
from litnets.analysis.report.prediction_colors import ClassColors, ValueColors
from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions
from litnets.analysis.report.record import Record
from litnets.analysis.report.scales import value_range
from litnets.analysis.report.surface import Grid, animate
from litnets.analysis.report.svg import COLORS, HEIGHT, WIDTH, Axes, Figure, svg
from litnets.errors import InputError
from litnets.runs.folder import Run

Colors = ClassColors | ValueColors

_MIN_ROWS = 10
_MAX_CELL = 1e39  # larger than any float32
_MAX_TARGETS = 3
_SIZE = 60  # points of the grid in each direction
_FRAME_SIZE = 40  # the same for an animation
_MAX_FRAMES = 24
_MAX_ANIMATION_BYTES = 500_000  # a tenth of the page
_PAUSE = Markup('<label class="pause"><input type="checkbox"> pause</label>')


def boundary(record: Record) -> Section | None:
    """Build the section with the predictions for a plane of inputs; None if the stored inputs are not rows of numbers.

    This is the only section that uses networks: the best checkpoint, and the kept epochs.
    """
    if record.test is None or not record.run.best.exists():
        return None
    rows = _rows(record)
    columns = list(next(iter(rows.values()), {}))
    if len(rows) < _MIN_ROWS or len(columns) < 2:
        return None
    colors = _colors(record, list(rows))
    if not colors:
        return None
    plane = _Plane.through(np.array([list(row.values()) for row in rows.values()], float), columns)
    title = "Decision boundary" if isinstance(colors[0], ClassColors) else "Predictions over the inputs"
    try:
        figures = [
            plane.figure(one.title, plane.areas(record.run, record.run.best, one, _SIZE), one, one.caption)
            for one in colors
        ]
    except InputError as error:
        return Section(title, [Note(f"The network cannot be loaded: {error}")])
    animation = _animation(record.run, plane, colors[0])
    if isinstance(animation, Figure):
        return Section(title, [Figures([*figures, animation])])
    blocks: list[Block] = [Figures(figures)]
    return Section(title, blocks if animation is None else [*blocks, animation])


def _rows(record: Record) -> dict[int, dict[str, float]]:
    """Return the stored test rows by their position in the split; empty unless every cell is a finite number."""
    assert record.test is not None
    known = set(record.test.frame["index"].to_list())
    rows: dict[int, dict[str, float]] = {}
    for one in record.inputs:
        if one.split != "test" or one.index not in known:
            continue
        row: Any = json.loads(one.content) if one.kind == "row" else None
        if not isinstance(row, dict) or not all(
            isinstance(cell, int | float) and abs(cell) < _MAX_CELL for cell in row.values()
        ):
            return {}
        rows[one.index] = row
    columns = list(next(iter(rows.values()), {}))
    return rows if all(list(row) == columns for row in rows.values()) else {}


def _colors(record: Record, indices: list[int]) -> list[Colors]:
    """Return the colors for the classes, or for each of the first targets. The dots are the samples with `indices`."""
    assert record.test is not None
    position = {index: row for row, index in enumerate(record.test.frame["index"].to_list())}
    chosen = [position[index] for index in indices]
    if "class_names" in record.description:
        classes = ClassPredictions(record.test)
        if classes.is_multilabel or not 2 <= len(classes.names) <= COLORS:
            return []
        return [ClassColors(classes.names, classes.targets[chosen])]
    if "channel_names" in record.description:
        return []
    values = ValuePredictions(record.test)
    targets = values.targets[chosen, 0]
    return [ValueColors(name, index, targets[:, index]) for index, name in enumerate(values.names[:_MAX_TARGETS])]


@dataclass(frozen=True)
class _Plane:
    """A plane through the data.

    Args:
        columns: Names of the columns.
        origin: The point of the plane with coordinates 0, `(columns,)`.
        axes: The change of each column along the two directions, `(2, columns)`.
        names: Names of the directions.
        points: The coordinates of the data in the plane, `(rows, 2)`.
    """

    columns: list[str]
    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    names: tuple[str, str]
    points: NDArray[np.float64]

    @classmethod
    def through(cls, values: NDArray[np.float64], columns: list[str]) -> "_Plane":
        """Return the plane of two columns, or of the first two principal components of the standardized columns."""
        if len(columns) == 2:
            return cls(columns, np.zeros(2), np.eye(2), (columns[0], columns[1]), values)
        mean, std = values.mean(0), values.std(0)
        std[std == 0] = 1
        standardized = (values - mean) / std
        _, sizes, directions = np.linalg.svd(standardized, full_matrices=False)
        directions = directions[:2] * np.sign(directions[:2, :1] + 1e-12)  # the sign of a direction is arbitrary
        fractions = sizes[:2] ** 2 / (sizes**2).sum()
        first, second = (f"component {i + 1} ({fraction:.0%})" for i, fraction in enumerate(fractions))
        return cls(columns, mean, directions * std, (first, second), standardized @ directions.T)

    @property
    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The limits of both directions, with a margin around the data."""
        x, y = ((low - 0.1 * (high - low), high + 0.1 * (high - low)) for low, high in map(value_range, self.points.T))
        return x, y

    def areas(self, run: Run, checkpoint: Path, colors: Colors, size: int) -> Markup:
        """Draw what a network predicts in this plane.

        Args:
            run: The run.
            checkpoint: The checkpoint with the network.
            colors: The colors of its predictions.
            size: Points of the grid in each direction.

        Raises:
            InputError: The network cannot be loaded.
        """
        import polars as pl

        from litnets.analysis.predictor import Predictor  # here, because it imports torch and Lightning

        grid = Grid(self.limits, size)
        predictor = Predictor.load(run, checkpoint, device="cpu")
        keys = colors.keys(predictor, pl.DataFrame(grid.points(self.origin, self.axes), schema=self.columns))
        return grid.areas(self._axes(colors), keys, colors.css)

    def figure(self, title: str, areas: Markup, colors: Colors, caption: str) -> Figure:
        """Return the picture of some areas, with the axes and the samples over them."""
        if len(self.columns) > 2:
            caption += " The samples are projected onto the plane of the first two principal components."
        axes = self._axes(colors)
        axes.parts.append(areas)
        axes.frame(*self.names)
        places = np.stack([axes.x(self.points[:, 0]), axes.y(self.points[:, 1])], 1)
        return Figure(
            title, svg(WIDTH, HEIGHT, [*axes.parts, *colors.dots(places), colors.scale]), caption, colors.legend
        )

    def _axes(self, colors: Colors) -> Axes:
        return Axes(*self.limits, width=colors.width)


def _animation(run: Run, plane: _Plane, colors: Colors) -> Figure | Note | None:
    """Return the animation over the kept epochs; None if fewer than two are kept."""
    paths = list(run.kept_epochs().items())
    if len(paths) < 2:
        return None
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _MAX_FRAMES)).round().astype(int))
    try:
        frames = [
            (f"epoch {epoch}", plane.areas(run, path, colors, _FRAME_SIZE))
            for epoch, path in (paths[index] for index in chosen)
        ]
    except InputError as error:
        return Note(f"The animation over the epochs is left out: {error}")
    areas = animate(frames, colors.width - 18, 22)
    if len(areas) > _MAX_ANIMATION_BYTES:
        return Note("The animation over the epochs is left out, because the page is limited to 5 MB.")
    caption = f"The predictions after {len(frames)} of the epochs. Epoch 0 stands for the initial weights."
    figure = plane.figure(f"{colors.title} over the epochs", areas, colors, caption)
    return replace(figure, svg=figure.svg + _PAUSE)
