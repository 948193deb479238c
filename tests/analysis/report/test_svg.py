"""The charts of the report."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from litnets.analysis.report.scales import compact, log_ticks, short, tick_labels, ticks, value_range
from litnets.analysis.report.svg import Figure, Line, bar_chart, histogram, line_chart, matrix_chart, traces

NAME = '<script>alert("&")</script>'


def texts(figure: Figure) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure.svg).iter() if element.tag.endswith("text")]


@pytest.mark.parametrize(
    "figure",
    [
        line_chart(NAME, [Line(NAME, [0, 1, 2], [1, np.nan, 3]), Line("b", [1], [2], "points")], NAME, NAME),
        line_chart("empty", [Line("a", [], [])], "x", "y", has_diagonal=True, mark=0.5),
        line_chart("equal", [Line("a", [2, 2], [5, 5])], "x", "y"),
        line_chart("log", [Line("a", [1, 2, 3], [0, 1e-4, 10])], "x", "y", is_log=True),
        line_chart("log x", [Line("a", [0, 1e-4, 10], [1, 2, 3])], "x", "y", is_log_x=True),
        histogram("h", np.array([1.0, 2.0, np.inf, np.nan]), NAME),
        histogram("constant", np.zeros(3), "x"),
        histogram("nearly constant", np.array([3.0, np.nextafter(3, 4)]), "x"),
        bar_chart("b", [NAME, "b"], [0.5, float("nan")]),
        matrix_chart("m", np.array([[3, 1], [0, 0]]), [NAME, "b"], "true", "predicted"),
    ],
    ids=lambda figure: figure.title[:8],
)
def test_every_chart_is_well_formed_and_has_no_undefined_coordinates(figure: Figure) -> None:
    root = ElementTree.fromstring(figure.svg)  # a name that is not escaped is an element, or an error
    assert not [element for element in root.iter() if element.tag == "script"]
    assert not {"nan", "inf"} & {part.strip("-") for value in _attributes(root) for part in value.split(",")}


def _attributes(root: Any) -> list[str]:
    return [value.replace("L", ",").replace("M", ",") for element in root.iter() for value in element.attrib.values()]


def test_a_line_goes_through_its_points_in_the_plotting_area() -> None:
    figure = line_chart("t", [Line("a", [0, 10], [0, 1])], "x", "y")
    line = next(e for e in ElementTree.fromstring(figure.svg).iter() if e.get("class") == "l s0")
    assert line.get("d") == "M62.0,202.0L348.0,8.0"  # from the lower left to the upper right
    assert {"0", "10", "1"} <= set(texts(figure))


def test_the_matrix_colors_fractions_of_the_rows_and_shows_the_counts() -> None:
    figure = matrix_chart("m", np.array([[30, 10], [0, 1200]]), ["a", "b"], "true", "predicted")
    cells = [e for e in ElementTree.fromstring(figure.svg).iter() if e.get("fill-opacity")]
    assert [cell.get("fill-opacity") for cell in cells] == ["0.78", "0.34", "1.00"]
    assert {"30", "10", "1.2k"} <= set(texts(figure))
    assert [cell[0].text for cell in cells][1] == "a → b: 10 (25.0%)"


def test_long_names_are_shortened_and_shown_in_full_on_hovering() -> None:
    figure = bar_chart("b", ["x" * 50], [1.0])
    assert texts(figure)[0] == "x" * 17 + "…"
    assert "<title>" + "x" * 50 in figure.svg


def test_each_channel_of_a_series_is_a_line() -> None:
    assert traces(np.arange(12.0).reshape(4, 3)).count("<path") == 3


def test_numbers_of_axes() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(-3, 7) == [-2, 0, 2, 4, 6]
    assert ticks(0.5, 3.5, is_whole=True) == [1, 2, 3]
    assert log_ticks(1e-4, 0.5) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1])
    assert log_ticks(14, 563) == [20, 50, 100, 200, 500]
    assert log_ticks(2, 9) == [2, 4, 6, 8]
    assert [short(value) for value in (0.0, 0.25, 1234.5, 1e-5, 2e6)] == ["0", "0.25", "1,234", "1e-5", "2e6"]
    assert tick_labels([0.482, 0.4825, 0.483]) == ["0.482", "0.4825", "0.483"]
    assert tick_labels([10_000.0, 10_000.5]) == ["10,000.0", "10,000.5"]
    assert [compact(count) for count in (7, 999, 1234, 35_000, 2_000_000)] == ["7", "999", "1.2k", "35k", "2.0M"]
    assert value_range([np.nan]) == (0, 1)
    assert value_range([3, 3]) == (2.85, 3.15)
