"""Build the page of a cross-validation, or of several seeds, from the results in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from litnets.analysis.report import render_page
from litnets.analysis.report.blocks import Figures, Note, Section, Table
from litnets.analysis.report.svg import Figure, Line, line_chart
from litnets.runs.folder import Run
from litnets.runs.storage import JsonType, check_types, damaged, read_json

_MAX_FIGURES = 6

_SUMMARY: JsonType = {"mean": "number", "std": "number", "interval?": ("number", "number")}
_TABLE: dict[str, JsonType] = {
    "runs": {"*": {"*?": "number"}},
    "summary": {"*?": _SUMMARY},
    "test_train_ratio?": "number",
    "ensemble?": {"*": "number"},
}
_SCORES: JsonType = {"command": "string", "evaluated_on?": "string", **_TABLE, "test?": _TABLE}


def read_scores(folder: Path) -> dict[str, Any] | None:
    """Return the results of `litnets cv` or `litnets seeds` in a folder, or None if it has none.

    Raises:
        InputError: The file is damaged.
    """
    path = next((path for path in (folder / "cv.json", folder / "seeds.json") if path.exists()), None)
    if path is None:
        return None
    content = read_json(path)
    check_types(path, content, _SCORES)
    for table in (content, content.get("test") or content):
        if not table["runs"]:
            raise damaged(path, "runs: expected at least one run")
        for metric, summary in table["summary"].items():
            for name, scores in table["runs"].items():
                if summary is not None and scores.get(metric) is None:
                    raise damaged(path, f"{name} has no {metric}")
    return content


def scores_page(folder: Path, content: Mapping[str, Any]) -> str:
    """Return a page that needs no other file. It links to the reports of the runs beside it.

    Args:
        folder: The folder of the runs.
        content: The results; see `read_scores`.
    """
    experiment = folder.resolve().parent.name
    is_cv = content["command"] == "cv"
    part = content.get("evaluated_on", "test")
    sections = [_scores(folder, content, "validation" if part == "val" else "test")]
    if content.get("test"):
        sections.append(_scores(folder, content["test"], "test", "Scores on the test split, which all runs share"))
    sections.append(_runs(folder, content))
    title = f"Cross-validation of {experiment}" if is_cv else f"Seeds of {experiment}"
    return render_page(title, Note(_verdict(content, "fold" if is_cv else "seed", part)), sections)


def _verdict(content: Mapping[str, Any], noun: str, part: str) -> str:
    metrics = [name for name, summary in content["summary"].items() if summary is not None]
    metric = next((name for name in metrics if name != "loss"), "loss")
    summary = content["summary"].get(metric)
    if summary is None:
        return f"No {part} score is a finite number in all runs."
    scores = f"{part} {metric} {summary['mean']:.4f} ± {summary['std']:.4f} over {len(content['runs'])} {noun}s"
    interval = summary.get("interval")
    return scores + (f"; 95% interval of the mean: {interval[0]:.4f} to {interval[1]:.4f}." if interval else ".")


def _scores(folder: Path, content: Mapping[str, Any], part: str, title: str = "Scores") -> Section:
    metrics = list(content["summary"])
    rows: list[list[Any]] = [
        [_link(folder, name), *(scores.get(metric) for metric in metrics)] for name, scores in content["runs"].items()
    ]
    summaries = [content["summary"][metric] or {} for metric in metrics]
    for name, key in (("mean", "mean"), ("standard deviation", "std")):
        rows.append([name, *(summary.get(key) for summary in summaries)])
    intervals = [summary.get("interval") for summary in summaries]
    caption = ""
    if any(intervals):
        for index, name in enumerate(("95% from", "95% to")):
            rows.append([name, *(None if interval is None else interval[index] for interval in intervals)])
        caption = "95%: confidence interval of the mean"
        caption += ", corrected for shared training samples." if content.get("test_train_ratio") else "."
    if content.get("ensemble"):
        rows.append(["ensemble", *(content["ensemble"].get(metric) for metric in metrics)])
    figures = [_figure(metric, content) for metric in metrics[:_MAX_FIGURES] if content["summary"][metric] is not None]
    return Section(title, [Table([part, *metrics], rows, caption=caption), Figures(figures)])


def _link(folder: Path, name: str) -> str | Markup:
    """Return the name of a run, as a link to its report if there is one."""
    if not Run(folder / name).report.exists():
        return name
    return Markup('<a href="{0}/report.html">{0}</a>').format(name)  # which is escaped


def _figure(metric: str, content: Mapping[str, Any]) -> Figure:
    values = [scores[metric] for scores in content["runs"].values()]
    numbers = list(range(1, len(values) + 1))
    mean = content["summary"][metric]["mean"]
    ends = [0.5, len(values) + 0.5]
    lines = [Line("", numbers, values, "dots"), Line("mean", ends, [mean, mean], "dashed")]
    spread = max(max(values) - min(values), 1e-6)
    limits = (min(values) - 0.1 * spread, max(values) + 0.1 * spread)
    return line_chart(metric, lines, "run", metric, counts_x=True, x_range=(ends[0], ends[1]), y_range=limits)


def _runs(folder: Path, content: Mapping[str, Any]) -> Section:
    rows = []
    for name in content["runs"]:
        results = Run(folder / name).read_results()
        best = results.get("best") or {}
        numbers = [results.get(key) for key in ("epochs", "seconds", "parameters")]
        rows.append([_link(folder, name), best.get("monitor"), best.get("score"), best.get("epoch"), *numbers])
    head = ["run", "monitored", "best", "in epoch", "epochs", "seconds", "parameters"]
    return Section("Runs", [Table(head, rows)])
