"""Regression: predicted against true values, and residuals."""

from typing import Any

import numpy as np

from litnets.analysis.report.blocks import Block, Figures, Section, Table
from litnets.analysis.report.predictions import ValuePredictions
from litnets.analysis.report.scales import value_range
from litnets.analysis.report.svg import Line, histogram, line_chart

_MAX_POINTS = 1500
_MAX_TARGETS = 6


def regression(values: ValuePredictions, per_target: Any) -> list[Section]:
    """Build the section about the test predictions of a regression.

    Args:
        values: The predictions.
        per_target: The metrics of each target in results.json.
    """
    targets, predictions = values.targets[:, 0], values.predictions[:, 0]
    shown = _spread(len(targets))
    blocks: list[Block] = []
    for index, name in enumerate(values.names[:_MAX_TARGETS]):
        true, predicted = targets[:, index], predictions[:, index]
        limits = value_range(np.concatenate([true, predicted]))
        caption = f"{len(shown):,} of {len(true):,} samples." if len(shown) < len(true) else ""
        figures = [
            line_chart(
                f"Predicted against true: {name}",
                [Line("", true[shown], predicted[shown], "points", 0)],
                "true",
                "predicted",
                caption=caption or "On the diagonal, the prediction is exact.",
                x_range=limits,
                y_range=limits,
                has_diagonal=True,
            ),
            line_chart(
                f"Residuals: {name}",
                [
                    Line("", predicted[shown], (predicted - true)[shown], "points", 0),
                    Line("", value_range(predicted), [0, 0], "dashed", 7),
                ],
                "predicted",
                "predicted - true",
                caption="A trend or a funnel means that the errors depend on the value.",
            ),
            histogram(f"Residuals: {name}", predicted - true, "predicted - true"),
        ]
        blocks.append(Figures(figures))
    if per_target:
        names = list(next(iter(per_target.values())))
        blocks.append(
            Table(["target", *names], [[name, *row.values()] for name, row in per_target.items()], "Per target")
        )
    return [Section("Predicted and true values", blocks)]


def _spread(size: int) -> Any:
    """Return positions that are spread evenly over the samples, or all of them."""
    return (
        np.unique(np.linspace(0, size - 1, min(size, _MAX_POINTS)).round().astype(int)) if size else np.array([], int)
    )
