"""Draw what a network predicts over a plane: areas in the color of the prediction, also as an animation.

A `Grid` of points covers the plane. The prediction for each point is a key, a number that stands for a color (see
`prediction_colors`). Cells with equal keys become one path of the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from litnets.analysis.report.svg import Axes

_SECONDS = 0.7  # of a frame of an animation
_HOLD = 3  # frames for which the last one is repeated


@dataclass(frozen=True)
class Grid:
    """A grid of points in a plane.

    Args:
        limits: The limits of both axes of the plane.
        size: Number of points in each direction.
    """

    limits: tuple[tuple[float, float], tuple[float, float]]
    size: int

    def points(self, origin: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points `(size * size, columns)`, the first axis varying fastest.

        Args:
            origin: The point of the plane with coordinates 0, `(columns,)`.
            axes: The change of each column along the two axes, `(2, columns)`.
        """
        steps = (np.arange(self.size) + 0.5) / self.size
        x, y = (low + (high - low) * steps for low, high in self.limits)
        points: NDArray[np.float64] = origin + x[None, :, None] * axes[0] + y[:, None, None] * axes[1]
        return points.reshape(-1, len(origin))

    def areas(self, axes: Axes, keys: NDArray[np.int64], css: Callable[[int], str]) -> Markup:
        """Draw the cells around the points.

        Args:
            axes: The axes of the chart.
            keys: The key of each point, `(size * size,)`.
            css: Returns the CSS classes of a key.
        """
        x, y = (np.linspace(low, high, self.size + 1) for low, high in self.limits)
        x, y = axes.x(x), axes.y(y)
        paths: dict[int, str] = {}
        for row, line in enumerate(keys.reshape(self.size, self.size).tolist()):
            starts = [0, *(i for i in range(1, self.size) if line[i] != line[i - 1]), self.size]
            for start, end in pairwise(starts):  # one rectangle for equal neighbors
                path = f"M{x[start]:.1f},{y[row]:.1f}H{x[end]:.1f}V{y[row + 1]:.1f}H{x[start]:.1f}z"
                paths[line[start]] = paths.get(line[start], "") + path
        one = Markup('<path class="{}" d="{}"/>')
        drawn = [one.format(css(key), path) for key, path in sorted(paths.items())]
        return Markup('<g class="areas">{}</g>').format(Markup("").join(drawn))


def animate(frames: Sequence[tuple[str, Markup]], x: float, y: float) -> Markup:
    """Show the elements of an SVG in turn, without a script: each is visible in its part of an animation that repeats.

    Only the last frame is shown where the reader prefers reduced motion, and in print.

    Args:
        frames: The label and the elements of each frame.
        x: Right end of the label.
        y: Its baseline.
    """
    count = len(frames)
    shown = {"film": 1 / (count + _HOLD), "last": (1 + _HOLD) / (count + _HOLD)}  # fraction of the time
    rules = [
        f"@keyframes {name}-{count}{{0%{{visibility:visible}}{fraction:.2%}{{visibility:hidden}}}}"
        for name, fraction in shown.items()
    ]
    parts = [Markup("<style>{}</style>").format("".join(rules))]
    for index, (label, elements) in enumerate(frames):
        name = "last" if index == count - 1 else "film"
        timing = f"{name}-{count} {(count + _HOLD) * _SECONDS:.1f}s step-end {index * _SECONDS:.1f}s infinite"
        frame = Markup('<g class="film {}" style="animation:{}">{}<text x="{}" y="{}" class="e halo">{}</text></g>')
        parts.append(frame.format(name, timing, elements, x, y, label))
    return Markup("").join(parts)
