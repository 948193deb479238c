"""Build the page of a search from search.json and trials.csv in its folder."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litnets.analysis.report import render_page
from litnets.analysis.report.blocks import Figures, Note, Section, Table
from litnets.analysis.report.svg import Figure, Line, bar_chart, line_chart
from litnets.errors import InputError
from litnets.runs.storage import JsonType, check_types, damaged, read_json, read_text

_MAX_ROWS = 200
_LOG_RATIO = 30  # listed values that differ by more than this factor are drawn on a logarithmic axis

_Row = Mapping[str, str]

_SPREAD: JsonType = {"mean?": "number", "std?": "number"}
_RESULTS: JsonType = {
    "monitor": "string",
    "winner": {"values": {"*": "string"}, "score": "number"},
    "space?": {"*": "string"},
    "final": {"validation": _SPREAD, "test": {"*": _SPREAD}},
    "importance": {"*": "number"},
    "trials": "number",
    "epochs_trained": "number",
    "epochs_without_halving": "number",
}


def read_search(folder: Path) -> dict[str, Any] | None:
    """Return the results of `litnets search` in a folder, or None if it has none.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / "search.json"
    if not path.exists():
        return None
    results = read_json(path)
    check_types(path, results, _RESULTS)
    return results


def search_page(folder: Path, results: Mapping[str, Any]) -> str:
    """Return a page that needs no other file.

    Args:
        folder: The folder of the search.
        results: The results; see `read_search`.

    Raises:
        InputError: trials.csv is missing or damaged.
    """
    trials = _read_trials(folder / "trials.csv", results)
    winner, monitor = results["winner"], results["monitor"]
    values = ", ".join(f"{name} {value}" for name, value in winner["values"].items())
    fresh = describe_spread(results["final"]["validation"])
    verdict = f"The best of {results['trials']} trials: {values}. {monitor} {fresh} with fresh seeds."
    sections = [_winner(results), _parameters(trials, results), _trials(trials)]
    return render_page(f"Search of {folder.resolve().parent.name}", Note(verdict), sections)


def _read_trials(path: Path, results: Mapping[str, Any]) -> list[_Row]:
    if not path.exists():
        raise InputError(f"{path} is missing")
    rows: list[_Row] = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows or any(None in row or None in row.values() for row in rows):
        raise damaged(path, "expected at least one trial, and a cell for each column")
    if missing := [name for name in ("trial", *results["winner"]["values"]) if name not in rows[0]]:
        raise damaged(path, f"no column {missing[0]}")
    rungs = _rungs(rows, results["monitor"])
    if not rungs:
        raise damaged(path, f"no column with {results['monitor']}")
    for name in ("trial", *rungs):
        if wrong := [row[name] for row in rows if (row[name] or name == "trial") and _number(row[name]) is None]:
            raise damaged(path, f"{name}: expected numbers, got {wrong[0]!r}")
    return rows


def _winner(results: Mapping[str, Any]) -> Section:
    winner, final, monitor = results["winner"], results["final"], results["monitor"]
    rows = [
        [f"{monitor}, in the search", f"{winner['score']:.4f}"],
        [f"{monitor}, with fresh seeds", describe_spread(final["validation"])],
        *([f"test {name}, with fresh seeds", describe_spread(spread)] for name, spread in final["test"].items()),
    ]
    caption = (
        "The score in the search is too optimistic, because it is the best of many. The winner was trained again with "
        "fresh seeds, and only these runs read the test split."
    )
    trained, without = results["epochs_trained"], results["epochs_without_halving"]
    cost = Note(f"{trained:,} epochs were trained; without successive halving, it would have been {without:,}.")
    named = [[name, str(value)] for name, value in winner["values"].items()]
    return Section("Winner", [Table([], named, "Values"), Table([], rows, "Scores", caption), cost])


def _parameters(trials: Sequence[_Row], results: Mapping[str, Any]) -> Section:
    monitor = results["monitor"]
    figures = [_history(trials, monitor)]
    space = results.get("space") or {}
    figures += [_scores_by(name, space.get(name, ""), trials, monitor) for name in results["winner"]["values"]]
    if results["importance"]:
        caption = f"Part of the variance of {monitor} that each parameter explains, estimated by fANOVA."
        importance = results["importance"]
        figures.append(bar_chart("Importance", list(importance), list(importance.values()), caption=caption))
    return Section("Parameters", [Figures(figures)])


def _history(trials: Sequence[_Row], monitor: str) -> Figure:
    caption = "A dot for each trial, with its score after the epoch in the legend."
    lines = _dots(trials, monitor, lambda row: float(row["trial"]))
    return line_chart("Trials", lines, "trial", monitor, caption=caption, counts_x=True)


def _scores_by(name: str, domain: str, trials: Sequence[_Row], monitor: str) -> Figure:
    """Draw the scores against a numeric parameter, or, for any other parameter, the mean score of each value.

    Args:
        name: The parameter.
        domain: Its values in the search space, such as `log(1e-4, 1e-1)`; empty for a search that did not record them.
        trials: The trials.
        monitor: The monitored metric.
    """
    numbers = [_number(row[name]) for row in trials]
    if any(number is None for number in numbers):
        return _means_by(name, trials, monitor)
    known = [number for number in numbers if number is not None]
    is_listed = not domain.startswith(("uniform", "int"))
    is_log = domain.startswith("log") or (is_listed and min(known) > 0 and max(known) / min(known) > _LOG_RATIO)
    lines = _dots(trials, monitor, lambda row: float(row[name]))
    return line_chart(name, lines, name, monitor, is_log_x=is_log)


def _means_by(name: str, trials: Sequence[_Row], monitor: str) -> Figure:
    rung = _rungs(trials, monitor)[0]
    scores: dict[str, list[float]] = {}
    for row in trials:
        if row[rung]:
            scores.setdefault(row[name], []).append(float(row[rung]))
    caption = f"Mean of {rung.replace(' at ', ' after epoch ')}."
    return bar_chart(name, list(scores), [statistics.fmean(values) for values in scores.values()], caption=caption)


def _dots(trials: Sequence[_Row], monitor: str, x: Any) -> list[Line]:
    """Return a group of dots for each number of epochs after which trials were compared."""
    lines = []
    for rung in _rungs(trials, monitor):
        rows = [row for row in trials if row[rung]]
        epoch = rung.rpartition(" ")[2]
        lines.append(Line(f"epoch {epoch}", [x(row) for row in rows], [float(row[rung]) for row in rows], "dots"))
    return lines


def _rungs(trials: Sequence[_Row], monitor: str) -> list[str]:
    return [name for name in trials[0] if name.startswith(f"{monitor} at ")]


def _trials(trials: Sequence[_Row]) -> Section:
    head = [name for name in trials[0] if name != "run"]
    rows = [[_cell(name, row[name]) for name in head] for row in trials[:_MAX_ROWS]]
    caption = "" if len(trials) <= _MAX_ROWS else f"The first {_MAX_ROWS} trials; trials.csv has all."
    return Section("Trials", [Table(head, rows, caption=caption)])


def _cell(name: str, text: str) -> str | float:
    """Return a score as a number, which the table aligns, and anything else as it is written."""
    number = _number(text) if " at " in name else None
    return text if number is None else number


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def describe_spread(spread: Mapping[str, Any]) -> str:
    """Return the mean of an entry of search.json, ± standard deviation."""
    if spread.get("mean") is None:
        return "not a number"
    return f"{spread['mean']:.4f}" + ("" if spread.get("std") is None else f" ± {spread['std']:.4f}")
