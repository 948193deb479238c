"""Distributions by layer in a report."""

import re
from pathlib import Path

from litnets.analysis.report.blocks import Note, Table
from litnets.analysis.report.sections.distributions import distributions
from litnets.runs.distributions import Distribution, save_distributions
from litnets.runs.folder import Run


def row(epoch: int, kind: str, layer: str, scale: float) -> Distribution:
    return Distribution(epoch, kind, layer, scale, 0.25, -2 * scale, -scale, 0.0, scale, 2 * scale)


def test_a_layer_is_a_row_of_the_table_of_its_kind() -> None:
    run = Run(Path.cwd())
    assert distributions(run) is None
    rows = [row(epoch, kind, "net.0", epoch) for kind in ("weights", "activations") for epoch in (4, 2)]
    save_distributions(run, [*rows, row(2, "activations", "net.1", 1e-6)])
    section = distributions(run)
    assert section is not None
    note, weights, activations = section.blocks
    assert isinstance(note, Note)
    assert note.text.startswith("Measured in the last step of 2 epochs, from 2 to 4.")
    assert isinstance(weights, Table)
    assert isinstance(activations, Table)
    assert [table.title for table in (weights, activations)] == ["Weights", "Activations"]
    ((name, picture, first, last, zeros),) = weights.rows
    assert (name, first, last, zeros) == ("net.0", 2.0, 4.0, "25.0%")
    outer, inner = re.findall(r'class="f0 o\d" d="M([^"]*)z"', picture)
    assert outer == "52,31.0L190,40.0L190,4.0L52,13.0"  # from 4 for the value 8 to 40 for -8
    assert inner == "52,26.5L190,31.0L190,13.0L52,17.5"
    # A layer that was logged in one epoch has a band over the width of the picture.
    assert re.findall(r'class="l s0" d="M([^"]*)"', activations.rows[1][1]) == ["52,22.0L190,22.0"]
