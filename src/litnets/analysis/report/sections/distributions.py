"""The distributions of the weights, gradients and activations of each layer over the epochs, if they were logged."""

import numpy as np
from markupsafe import Markup

from litnets.analysis.report.blocks import Block, Note, Section, Table
from litnets.analysis.report.scales import short, value_range
from litnets.analysis.report.svg import svg
from litnets.runs.distributions import KINDS, Distribution, load_distributions
from litnets.runs.folder import Run
from litnets.runs.print_results import count

_MAX_LAYERS = 40  # of each kind
_WIDTH, _HEIGHT, _LEFT = 190, 44, 52  # of a picture, and the space for the numbers of its axis


def distributions(run: Run) -> Section | None:
    """Build the section; None if nothing was logged.

    Raises:
        InputError: The file is damaged.
    """
    layers: dict[tuple[str, str], list[Distribution]] = {}  # by kind and name
    for row in sorted(load_distributions(run), key=lambda row: row.epoch):
        layers.setdefault((row.kind, row.layer), []).append(row)
    tables = [_table(kind, {name: rows for (other, name), rows in layers.items() if other == kind}) for kind in KINDS]
    blocks: list[Block] = [table for table in tables if table.rows]
    if not blocks:
        return None
    epochs = sorted({row.epoch for rows in layers.values() for row in rows})
    text = (
        f"Measured in the last step of {count(len(epochs), 'epoch')}, from {epochs[0]} to {epochs[-1]}. Line: the "
        "median. Dark and light bands: the middle 50% and 90% of the values. Gradients that shrink from the last "
        "layer to the first, or activations that are all zero, mean that a layer learns little."
    )
    return Section("Distributions by layer", [Note(text), *blocks])


def _table(kind: str, layers: dict[str, list[Distribution]]) -> Table:
    rows = [
        [name, _bands(layer), layer[0].std, layer[-1].std, f"{layer[-1].zeros:.1%}"]
        for name, layer in list(layers.items())[:_MAX_LAYERS]
    ]
    head = ["layer", "over the epochs", "std, first epoch", "std, last epoch", "zeros, last epoch"]
    caption = f"The first {_MAX_LAYERS} of {len(layers)} layers." if len(layers) > _MAX_LAYERS else ""
    return Table(head, rows, kind.capitalize(), caption)


def _bands(rows: list[Distribution]) -> Markup:
    """Draw the quantiles of a layer over the epochs."""
    quantiles = np.array([[row.q05, row.q25, row.q50, row.q75, row.q95] for row in rows]).T  # (quantiles, epochs)
    epochs = np.array([row.epoch for row in rows], float)
    if len(rows) == 1:  # a band needs two points
        quantiles, epochs = np.repeat(quantiles, 2, 1), epochs[0] + np.array([-0.5, 0.5])
    low, high = value_range(quantiles)
    x = _LEFT + (epochs - epochs[0]) / (epochs[-1] - epochs[0]) * (_WIDTH - _LEFT)
    y = 4 + (high - quantiles) / (high - low) * (_HEIGHT - 8)
    lines = [[f"{a:.0f},{b:.1f}" for a, b in zip(x, line, strict=True)] for line in y]
    band = Markup('<path class="f0 o{}" d="M{}z"/>')
    parts = [
        band.format(2, "L".join([*lines[0], *lines[4][::-1]])),
        band.format(4, "L".join([*lines[1], *lines[3][::-1]])),
        Markup('<path class="l s0" d="M{}"/>').format("L".join(lines[2])),
    ]
    number = Markup('<text x="{}" y="{}" class="e" font-size="9">{}</text>')
    parts += [number.format(_LEFT - 4, at, short(value)) for value, at in ((high, 10), (low, _HEIGHT - 2))]
    return svg(_WIDTH, _HEIGHT, parts, shrinks=False)
