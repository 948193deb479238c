"""distributions.csv: how the weights, gradients and activations of each layer are distributed, over the epochs.

    epoch       from 1
    kind        weights, gradients or activations
    layer       name of the parameter, or of the module whose outputs the activations are
    std         standard deviation
    zeros       fraction of the values that are exactly zero
    q05 ... q95 quantiles: 5%, 25%, 50%, 75% and 95% of the values are smaller

Values that are not finite do not count.
"""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from litnets.runs.folder import Run
from litnets.runs.storage import damaged, read_text, write_text

KINDS = ("weights", "gradients", "activations")
_MAX_ROWS = 10_000  # more than a training writes
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Distribution(NamedTuple):
    """A row of distributions.csv; see the module for the fields."""

    epoch: int
    kind: str
    layer: str
    std: float
    zeros: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float

    @classmethod
    def of(cls, epoch: int, kind: str, layer: str, values: NDArray[np.float32]) -> "Distribution | None":
        """Return the row for the values of a layer; None if none of them is finite."""
        finite = values[np.isfinite(values)].astype(np.float64)
        if not len(finite):
            return None
        quantiles = np.quantile(finite, _QUANTILES).tolist()
        return cls(epoch, kind, layer, float(finite.std()), float((finite == 0).mean()), *quantiles)


def load_distributions(run: Run) -> list[Distribution]:
    """Return the rows of distributions.csv; none if there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    path = run.distributions
    if not path.exists():
        return []
    try:
        head, *rows = csv.reader(StringIO(read_text(path), newline=""))
        if tuple(head) != Distribution._fields:
            raise ValueError(f"expected the columns {', '.join(Distribution._fields)}")
        if len(rows) > _MAX_ROWS:
            raise ValueError(f"expected at most {_MAX_ROWS} rows, got {len(rows)}")
        # Only the last row for each epoch, kind and layer counts.
        return list({row[:3]: row for row in map(_parse, rows)}.values())
    except (ValueError, TypeError, csv.Error) as error:  # TypeError: a row with another number of cells
        raise damaged(path, " ".join(str(error).split())[:200]) from error


def _parse(row: list[str]) -> Distribution:
    epoch, kind, layer, *numbers = row
    values = [float(number) for number in numbers]
    is_known = kind in KINDS and 0 < int(epoch) < 10**9
    if not is_known or not all(abs(value) < 1e39 for value in values):  # about the range of float32
        raise ValueError(f"unexpected row {','.join(row)}")
    return Distribution(int(epoch), kind, layer, *values)


def save_distributions(run: Run, rows: Iterable[Distribution]) -> None:
    """Write distributions.csv completely or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Distribution._fields)
    writer.writerows(
        [epoch, kind, layer, *(f"{value:.4g}" for value in values)] for epoch, kind, layer, *values in rows
    )
    write_text(run.distributions, text.getvalue())
