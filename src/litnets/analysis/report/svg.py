"""Small SVG charts for the report: lines, points, bars, histograms and matrices.

A chart is a `Figure`. Its colors are CSS variables of the page, so that it follows the light or dark theme. Texts from
data are escaped, because they are formatted into `Markup`. Coordinates have one decimal, which keeps the page small and
its bytes the same on every run.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from litnets.analysis.report.scales import compact, log_ticks, short, tick_labels, ticks, value_range

WIDTH, HEIGHT = 360, 240  # of a chart, in CSS pixels: a chart is as wide as a phone
COLORS = 10  # the page defines --c0 to --c9
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 8, 38  # margins around the plotting area


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Args:
        title: What the picture shows.
        svg: The picture.
        caption: How to read it.
        legend: The name and the color of each line, in the order of the lines.
        is_wide: Whether the picture may be wider than a phone; the page then scrolls it.
    """

    title: str
    svg: Markup
    caption: str = ""
    legend: Sequence[tuple[str, int]] = ()
    is_wide: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a chart, or a set of points.

    Args:
        name: The name in the legend; empty for none.
        x: Coordinates, `(N,)`. Points that are not finite are left out.
        y: Coordinates, `(N,)`.
        style: A line, a dashed line, points without a line, or a few large dots.
        color: Index of the color; None for the position of the line in the chart.
    """

    name: str
    x: NDArray[Any] | Sequence[float]
    y: NDArray[Any] | Sequence[float]
    style: Literal["line", "dashed", "points", "dots"] = "line"
    color: int | None = None


@dataclass
class Axes:
    """Map values to coordinates, and draw the frame of a chart."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    is_log: bool = False  # the y axis
    counts_x: bool = False  # the x axis counts something, such as epochs
    is_log_x: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    parts: list[Markup] = field(default_factory=list)

    def x(self, value: Any) -> Any:
        low, high = self.x_range
        if self.is_log_x:
            low, high, value = math.log10(low), math.log10(high), np.log10(value)
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: Any) -> Any:
        low, high = self.y_range
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), np.log10(value)
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _BOTTOM - _TOP)

    def frame(self, x_label: str, y_label: str) -> None:
        """Draw grid lines, the numbers at them, and the names of the axes."""
        right, bottom = self.width - _RIGHT, self.height - _BOTTOM
        x_ticks = log_ticks(*self.x_range) if self.is_log_x else ticks(*self.x_range, is_whole=self.counts_x)
        for tick, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
            at = f"{self.x(tick):.1f}"
            self.parts.append(
                Markup('<path class="grid" d="M{0},{1}V{2}"/><text x="{0}" y="{3}" class="m">{4}</text>').format(
                    at, _TOP, bottom, bottom + 13, label
                )
            )
        y_ticks = log_ticks(*self.y_range) if self.is_log else ticks(*self.y_range)
        for tick, label in zip(y_ticks, tick_labels(y_ticks), strict=True):
            at = f"{self.y(tick):.1f}"
            self.parts.append(
                Markup('<path class="grid" d="M{1},{0}H{2}"/><text x="{3}" y="{0}" class="e" dy="4">{4}</text>').format(
                    at, _LEFT, right, _LEFT - 4, label
                )
            )
        middle = (_LEFT + right) / 2
        self.parts.append(Markup('<text x="{}" y="{}" class="m">{}</text>').format(middle, bottom + 30, x_label))
        center = (_TOP + bottom) / 2
        self.parts.append(
            Markup('<text transform="translate(10,{}) rotate(-90)" class="m">{}</text>').format(center, y_label)
        )

    def draw(self) -> Markup:
        return svg(self.width, self.height, self.parts)


def svg(width: float, height: float, parts: Iterable[Markup], shrinks: bool = True) -> Markup:
    """Return an `<svg>` element of at most this width, which shrinks with the page unless its texts would be too small.

    Args:
        width: Width in CSS pixels.
        height: Height in CSS pixels.
        parts: The elements in it.
        shrinks: Whether it shrinks with the page; otherwise the page scrolls it.
    """
    style = Markup("max-width" if shrinks else "width")
    return Markup('<svg viewBox="0 0 {1:.0f} {2:.0f}" style="{0}:{1:.0f}px" role="img">{3}</svg>').format(
        style, width, height, Markup("").join(parts)
    )


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    is_log: bool = False,
    is_log_x: bool = False,
    counts_x: bool = False,
    mark: float | None = None,
    has_diagonal: bool = False,
) -> Figure:
    """Draw lines or points.

    Args:
        title: What the chart shows.
        lines: The lines, the first at the bottom.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        caption: How to read the chart.
        x_range: Limits of the x axis; None for those of the data.
        y_range: Limits of the y axis; None for those of the data.
        is_log: Whether the y axis is logarithmic. Values that are not positive are left out.
        is_log_x: Whether the x axis is logarithmic.
        counts_x: Whether the x axis counts something, such as epochs.
        mark: Draw a vertical line here.
        has_diagonal: Draw the line x = y.
    """
    finite = [_finite(line, is_log, is_log_x) for line in lines]
    axes = Axes(
        x_range or value_range(np.concatenate([x for x, _ in finite]), is_log_x),
        y_range or value_range(np.concatenate([y for _, y in finite]), is_log),
        is_log,
        counts_x,
        is_log_x,
    )
    axes.frame(x_label, y_label)
    if mark is not None:
        axes.parts.append(Markup('<path class="mark" d="M{:.1f},{}V{}"/>').format(axes.x(mark), _TOP, HEIGHT - _BOTTOM))
    if has_diagonal:
        low, high = max(axes.x_range[0], axes.y_range[0]), min(axes.x_range[1], axes.y_range[1])
        if low < high:
            axes.parts.append(_path([(axes.x(low), axes.y(low)), (axes.x(high), axes.y(high))], "mark"))
    legend = []
    for index, (line, (x, y)) in enumerate(zip(lines, finite, strict=True)):
        color = (index if line.color is None else line.color) % COLORS
        if line.name:
            legend.append((line.name, color))
        points = list(zip(axes.x(x).tolist(), axes.y(y).tolist(), strict=True)) if len(x) else []
        if line.style == "points":
            axes.parts.append(dots(points, f"s{color}"))
        elif line.style == "dots" or len(points) == 1:
            axes.parts.append(dots(points, f"s{color}", radius=3))
        else:
            dashed = line.style == "dashed" or (line.color is None and index >= COLORS)
            axes.parts.append(_path(points, f"l s{color}{' dash' if dashed else ''}"))
    return Figure(title, axes.draw(), caption, legend)


def histogram(title: str, values: NDArray[Any], x_label: str) -> Figure:
    """Draw how often values occur."""
    values = np.asarray(values, float)
    counts, edges = np.histogram(values[np.isfinite(values)], 30, value_range(values))
    axes = Axes(value_range(edges), (0, max(float(counts.max()), 1) * 1.05))
    axes.frame(x_label, "count")
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        x, top = axes.x(left), axes.y(count)
        if count:
            axes.parts.append(rectangle(x, top, axes.x(right) - x, axes.y(0) - top, "f0"))
    return Figure(title, axes.draw())


def bar_chart(title: str, names: Sequence[str], values: Sequence[float], *, caption: str = "") -> Figure:
    """Draw a horizontal bar for each value, with its name and number."""
    row, left, right = 18, 120, 56
    largest = max([abs(value) for value in values if math.isfinite(value)] or [0]) or 1
    parts = []
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        y = index * row
        size = abs(value) / largest * (WIDTH - left - right) if math.isfinite(value) else 0
        parts.append(label(name, left - 4, y + 13, "e", 18))
        parts.append(rectangle(left, y + 3, size, row - 6, "f0"))
        parts.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(left + size + 4, y + 13, short(value)))
    return Figure(title, svg(WIDTH, row * len(names), parts), caption)


def matrix_chart(
    title: str, matrix: NDArray[Any], names: Sequence[str], y_label: str, x_label: str, *, caption: str = ""
) -> Figure:
    """Draw a square matrix of counts, such as a confusion matrix. The color is the fraction of the row."""
    size = len(names)
    cell = 34 if size <= 6 else 26 if size <= 20 else 11
    font = 11 if size <= 20 else 8
    margin = min(max([len(name) for name in names] + [4]), 18) * font * 0.6 + 22
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    parts = []
    for i, name in enumerate(names):
        middle = margin + (i + 0.5) * cell + font * 0.35
        parts.append(label(name, margin - 4, middle, "e", 18, font))
        turned = Markup('<g transform="translate({:.1f},{:.1f}) rotate(-90)">{}</g>')
        parts.append(turned.format(middle, margin - 4, label(name, 0, 0, "", 18, font)))
    for i, j in np.argwhere(matrix > 0).tolist():
        x, y, fraction = margin + j * cell, margin + i * cell, float(fractions[i, j])
        hint = f"{names[i]} → {names[j]}: {matrix[i, j]:,} ({fraction:.1%})"
        parts.append(
            Markup(
                '<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}" class="f{}" fill-opacity="{:.2f}">'
                "<title>{}</title></rect>"
            ).format(x, y, cell - 1, cell - 1, 0 if i == j else 1, 0.12 + 0.88 * fraction, hint)
        )
        if size <= 20:
            text = Markup('<text x="{:.1f}" y="{:.1f}" class="m{}">{}</text>')
            is_dark = " on" if fraction > 0.55 else ""
            parts.append(text.format(x + cell / 2 - 0.5, y + cell / 2 + 4, is_dark, compact(int(matrix[i, j]))))
    side = margin + size * cell + 2
    parts.append(
        Markup('<rect x="{0:.1f}" y="{0:.1f}" width="{1:.1f}" height="{1:.1f}" class="frame"/>').format(
            margin - 0.5, size * cell
        )
    )
    parts.append(Markup('<text x="2" y="12">{} ↓ {} →</text>').format(y_label, x_label))
    return Figure(title, svg(side, side, parts, shrinks=False), caption, is_wide=True)


def sparkline(values: Sequence[float]) -> Markup:
    """Draw bars without axes, for a cell of a table."""
    width, height = 90, 22
    largest = max(values, default=0) or 1
    step = width / max(len(values), 1)
    bars = [
        rectangle(i * step, height * (1 - value / largest), step, height * value / largest, "f0")
        for i, value in enumerate(values)
        if value
    ]
    return Markup('<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}">{2}</svg>').format(
        width, height, Markup("").join(bars)
    )


def traces(values: NDArray[Any]) -> Markup:
    """Draw the channels of a series without axes, each scaled to the height.

    Args:
        values: `(steps, channels)`.
    """
    width, height = 200, 70
    parts = []
    for channel, line in enumerate(values.T[:COLORS]):
        keep = np.linspace(0, len(line) - 1, min(len(line), width // 2)).round().astype(int)
        x = keep / max(len(line) - 1, 1) * width
        low, high = value_range(line)
        y = height - (line[keep] - low) / (high - low) * height
        points = [(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True) if math.isfinite(b)]
        parts.append(_path(points, f"l s{channel}"))
    return svg(width, height, parts)


def label(text: str, x: float, y: float, css: str, longest: int, font: int = 11) -> Markup:
    """Return a text that is shortened to a number of characters; hovering over it shows all of it."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    full = "" if shown == text else Markup("<title>{}</title>").format(text)
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" font-size="{}">{}{}</text>').format(
        x, y, css, font, shown, full
    )


# Elements


def _finite(line: Line, is_log: bool, is_log_x: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    keep = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not is_log)) & ((x > 0) | (not is_log_x))
    return x[keep], y[keep]


def _path(points: Sequence[tuple[float, float]], css: str) -> Markup:
    data = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) if points else ""
    return Markup('<path class="{}" d="{}"/>').format(css, data)


def dots(points: Iterable[Sequence[float]], css: str, radius: float = 2) -> Markup:
    """Draw dots as one path of zero-length lines with round ends, which takes a third of the bytes of circles."""
    data = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in points)
    return Markup('<path class="p {}" d="{}" stroke-width="{}"/>').format(css, data, radius * 2)


def rectangle(x: float, y: float, width: float, height: float, css: str) -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
        x, y, width, height, css
    )
