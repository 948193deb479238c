"""The colors of predictions and targets in a chart whose axes are inputs.

A key is a number that stands for a color. `keys` returns the key of each prediction, `css` the CSS classes of a key.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from litnets.analysis.report.scales import short, ticks, value_range
from litnets.analysis.report.svg import HEIGHT, WIDTH, dots, rectangle

if TYPE_CHECKING:
    import polars

    from litnets.analysis.predictor import Predictor

_LEVELS = 4  # of the opacity, which shows the probability
_VALUES = 12  # the page defines the fills .v0 to .v11, and the strokes .w0 to .w11
_SCALE_WIDTH = 56
_DOTS = "Dots: some test samples, including the worst mistakes, in the color of their"


class ClassColors:
    """Colors by class, stronger where the class is more probable.

    Args:
        names: Names of the classes.
        targets: The classes of the samples, `(samples,)`.
    """

    title = "Predicted class"
    caption = f"Areas: the predicted class, in a stronger color where it is more probable. {_DOTS} class."
    width = WIDTH  # of the axes
    scale = Markup("")  # what is drawn beside the axes

    def __init__(self, names: Sequence[str], targets: NDArray[np.int64]) -> None:
        self.legend = [(str(name), index) for index, name in enumerate(names)]
        self.targets = targets

    def keys(self, predictor: "Predictor", rows: "polars.DataFrame") -> NDArray[np.int64]:
        probabilities = predictor.predict_proba(rows)
        level = np.ceil(probabilities.max(1) * _LEVELS)
        return np.asarray(probabilities.argmax(1) * (_LEVELS + 1) + level, np.int64)

    def css(self, key: int) -> str:
        index, level = divmod(key, _LEVELS + 1)
        return f"f{index} o{level}"

    def dots(self, points: NDArray[np.float64]) -> list[Markup]:
        """Draw the samples at these coordinates, `(samples, 2)`."""
        return [dots(points[self.targets == index].tolist(), f"s{index}", radius=2.5) for _, index in self.legend]


class ValueColors:
    """Colors by value, on a scale that covers the targets.

    Args:
        name: Name of the target.
        index: Its position among the targets of the network.
        targets: The targets of the samples, `(samples,)`.
    """

    caption = f"Areas: the predicted value. {_DOTS} target: a dot that stands out is an error."
    width = WIDTH - _SCALE_WIDTH
    legend = ()

    def __init__(self, name: str, index: int, targets: NDArray[np.float64]) -> None:
        self.title = f"Predicted {name}"
        self.index = index
        self.targets = targets
        self.limits = value_range(targets)

    def keys(self, predictor: "Predictor", rows: "polars.DataFrame") -> NDArray[np.int64]:
        return self._key(predictor.predict(rows).reshape(len(rows), -1)[:, self.index])

    def css(self, key: int) -> str:
        return f"v{key}"

    def dots(self, points: NDArray[np.float64]) -> list[Markup]:
        """Draw the samples at these coordinates, `(samples, 2)`, with a rim that separates them from the areas."""
        keys = self._key(self.targets)
        inside = [dots(points[keys == key].tolist(), f"solid w{key}", radius=2.5) for key in np.unique(keys)]
        return [dots(points.tolist(), "solid rim", radius=3.5), *inside]

    @property
    def scale(self) -> Markup:
        """The colors from the lowest to the highest target, with some of their values."""
        low, high = self.limits
        left, top, bottom = WIDTH - _SCALE_WIDTH + 4, 8, HEIGHT - 38
        height = (bottom - top) / _VALUES
        parts = [rectangle(left, bottom - (key + 1) * height, 10, height, self.css(key)) for key in range(_VALUES)]
        for tick in ticks(low, high):
            y = bottom - (tick - low) / (high - low) * (bottom - top)
            parts.append(Markup('<text x="{}" y="{:.1f}" dy="4">{}</text>').format(left + 14, y, short(tick)))
        return Markup("").join(parts)

    def _key(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        low, high = self.limits  # values beyond them have the color of the nearer limit
        return np.nan_to_num((values - low) / (high - low) * _VALUES).clip(0, _VALUES - 1).astype(np.int64)
