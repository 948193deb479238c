"""Segmentation: the scores of each class, and the stored images with their masks."""

from collections.abc import Mapping
from typing import Any

from litnets.analysis.report.blocks import Block, Figures, Section, Table
from litnets.analysis.report.svg import bar_chart

_MAX_BARS = 40


def segmentation(per_class: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Build the section with the scores of each class.

    Args:
        per_class: The metrics of each class in results.json.
    """
    names = list(next(iter(per_class.values())))
    rows = [[name, *(row.get(metric) for metric in names)] for name, row in per_class.items()]
    scores = {name: row["iou"] for name, row in per_class.items() if row.get("iou") is not None}
    blocks: list[Block] = []
    if scores:
        worst = dict(sorted(scores.items(), key=lambda item: item[1])[:_MAX_BARS])
        blocks.append(
            Figures([bar_chart("IoU per class", list(worst), list(worst.values()), caption="The lowest first.")])
        )
    blocks.append(Table(["class", *names], rows, "Per class"))
    return [Section("Classes", blocks)]
