"""The results on slices of the test split: by metadata, and by properties of the inputs such as their length."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.report.blocks import Block, Section, Table
from litnets.analysis.report.intervals import wilson
from litnets.runs.recorded_predictions import RecordedPredictions

_PREFIX = "slice_"
# Columns of other contents, and the first words of columns of results.
_IDENTIFYING = frozenset({"index", "file", "row", "time", "step", "pixels", "accuracy", "mean_iou"})
_RESULTS = frozenset({"target", "prediction", "probability", "logit", "output", "loss", "set", "lower", "upper", "iou"})
_MAX_VALUES = 12  # of a column of texts
_MAX_COLUMNS = 12
_BINS = 4  # of a column of numbers


class Slice(NamedTuple):
    """Some of the samples: those with a value of a column, or with a value between two limits."""

    name: str
    mask: NDArray[np.bool_]


def slices(recorded: RecordedPredictions, scores: NDArray[np.floating[Any]], measure: str) -> Section | None:
    """Build the section about the slices of the test split; None if the run has recorded no column to slice by.

    Args:
        recorded: The recorded predictions.
        scores: The score of each sample, `(N,)`.
        measure: What the mean of the scores is called. An accuracy, also a subset accuracy, gets an interval.
    """
    frame = recorded.frame
    steps = len(frame) // max(len(scores), 1)
    blocks: list[Block] = []
    for column in _columns(frame.columns)[:_MAX_COLUMNS]:
        rows = [[part.name, *_row(scores[part.mask], scores.mean(), measure)] for part in split(frame[column][::steps])]
        if len(rows) > 1:
            title = column.removeprefix(_PREFIX)
            interval = ["95% interval", ""] if measure.endswith("accuracy") else []
            blocks.append(Table([title, "samples", measure, *interval], rows, f"By {title}"))
    return Section("Slices of the test split", blocks) if blocks else None


def _row(scores: NDArray[np.floating[Any]], mean: float, measure: str) -> Sequence[Any]:
    if not measure.endswith("accuracy"):
        return len(scores), float(np.nanmean(scores))
    low, high = wilson(round(float(scores.sum())), len(scores))
    verdict = "lower" if high < mean else "higher" if low > mean else ""
    return len(scores), float(scores.mean()), f"{low:.3f} – {high:.3f}", verdict  # noqa: RUF001


def _columns(columns: Sequence[str]) -> list[str]:
    """Return the columns to slice by: those made for it, then those that the data carry as metadata."""
    made = [name for name in columns if name.startswith(_PREFIX)]
    other = [name for name in columns if name not in made and name not in _IDENTIFYING]
    return made + [name for name in other if name.partition("_")[0] not in _RESULTS]


def split(column: Any) -> Iterator[Slice]:
    """Yield the slices by a column: one for each of few values, or quarters of the numbers. Others have no slices."""
    values = column.to_list()
    present = [value for value in values if value is not None and value == value]  # NaN is missing as well
    distinct = sorted(set(present), key=lambda value: (str(type(value)), value))
    if len(distinct) <= _MAX_VALUES:
        for value in distinct:
            yield Slice(str(value), np.array([other == value for other in values]))
        return
    if not all(isinstance(value, int | float) for value in present):
        return
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _BINS + 1)))
    for low, high in pairwise(edges):
        mask = (numbers >= low) & ((numbers < high) | ((high == edges[-1]) & (numbers <= high)))
        if mask.any():
            yield Slice(f"{low:.4g} to {high:.4g}", mask)
