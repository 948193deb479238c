"""Build the page of a comparison of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.compare import NetworkComparison, Setting, option_name, option_text
from litnets.analysis.finished_run import FinishedRun
from litnets.analysis.report import render_page
from litnets.analysis.report.blocks import Block, Figures, Note, Section, Table
from litnets.analysis.report.scales import value_range
from litnets.analysis.report.svg import Figure, Line, line_chart
from litnets.analysis.verdicts import Judgement, describe_scores, mean_and_deviation

_MAX_FLIPS = 50


def comparison_page(
    settings: Sequence[Setting], options: Mapping[str, Mapping[str, Any]], metric: str, judgement: Judgement
) -> str:
    """Return a page that needs no other file.

    Args:
        settings: The settings, the best first.
        options: The options of each setting that differ from others, by the setting's label.
        metric: The test metric to compare by.
        judgement: Whether the differences are more than noise.
    """
    sections = [_settings(settings, options, metric), _noise(judgement)]
    if len(settings) > 1:
        sections.append(_cost(settings, metric))
    sections.append(_runs(settings))
    first = judgement.verdicts[0].text if len(judgement.verdicts) == 1 else _summary(settings, judgement)
    return render_page("Comparison of runs", Note(f"{first}."), sections)


def _summary(settings: Sequence[Setting], judgement: Judgement) -> str:
    best = settings[0]
    runs = "one run" if len(best.runs) == 1 else f"{len(best.runs)} runs"
    text = f"Best by validation: {best.label}, {runs} in {best.runs[0].run.folder.parent.name}"
    unclear = [one.other for one in judgement.verdicts if one.comparison and not one.comparison.is_significant]
    return f"{text}; on the test split it may be no better than {', '.join(unclear)}" if unclear else text


def _settings(settings: Sequence[Setting], options: Mapping[str, Mapping[str, Any]], metric: str) -> Section:
    names = list(dict.fromkeys(name for values in options.values() for name in values))
    head = ["", "runs", "parameters", "epochs", "seconds", "samples/s", "best validation", f"test {metric}"]
    rows = []
    for setting in settings:
        numbers = [setting.mean(name) for name in ("parameters", "epochs", "seconds", "samples_per_second")]
        best = [run.results["best"]["score"] for run in setting.runs if run.results.get("best")]
        scores = [mean_and_deviation(best), describe_scores(setting, metric)]
        rows.append([setting.label, len(setting.runs), *map(_rounded, numbers), *scores])
    caption = (
        "Means over the runs of a setting, ± standard deviation. Brackets: 95% interval over the test samples of a "
        "single run. The settings are ordered by their validation score, the best first."
    )
    blocks: list[Block] = [Table(head, rows, "Scores", caption)]
    if names:
        short = [option_name(name) for name in names]
        cells = [[label, *(_text(values.get(name)) for name in names)] for label, values in options.items()]
        blocks.insert(0, Table(["", *short], cells, "What differs"))
    return Section("Settings", blocks)


def _noise(judgement: Judgement) -> Section:
    blocks: list[Block] = [Note(judgement.question)]
    if judgement.verdicts:
        blocks.append(Table(["verdict"], [[verdict.text] for verdict in judgement.verdicts]))
    for verdict in judgement.verdicts:
        if isinstance(verdict.comparison, NetworkComparison) and verdict.comparison.flips:
            flips = verdict.comparison.flips
            rows = [[flip.sample, flip.target, flip.prediction_a, flip.prediction_b] for flip in flips[:_MAX_FLIPS]]
            caption = "" if len(flips) <= _MAX_FLIPS else f"The first {_MAX_FLIPS} of {len(flips):,} samples."
            title = f"Samples that only A or only {verdict.other} answers correctly"
            blocks.append(Table(["sample", "target", "A", verdict.other], rows, title, caption))
    return Section("More than noise?", blocks)


def _cost(settings: Sequence[Setting], metric: str) -> Section:
    figures = [
        _score_against(settings, metric, "seconds", "seconds of training"),
        _score_against(settings, metric, "parameters", "parameters"),
    ]
    return Section("Score against cost", [Figures(figures)])


def _score_against(settings: Sequence[Setting], metric: str, name: str, label: str) -> Figure:
    lines = []
    for setting in settings:
        runs = [run for run in setting.runs if run.results.get(name) is not None]
        lines.append(
            Line(setting.label, [run.results[name] for run in runs], [run.test[metric] for run in runs], "dots")
        )
    x_range = _with_margin(np.concatenate([line.x for line in lines]))
    y_range = _with_margin(np.concatenate([line.y for line in lines]))
    return line_chart(
        f"Test {metric} and {label}",
        lines,
        label,
        f"test {metric}",
        caption="A dot for each run.",
        x_range=x_range,
        y_range=y_range,
    )


def _with_margin(values: NDArray[Any]) -> tuple[float, float]:
    """Return the limits of an axis, so that no dot lies on the frame."""
    low, high = value_range(values)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _runs(settings: Sequence[Setting]) -> Section:
    metrics = list(dict.fromkeys(name for setting in settings for run in setting.runs for name in run.test))
    rows = [
        [
            setting.label,
            str(run.run.folder),
            _text(run.seed),
            _validation(run),
            *(run.test.get(name) for name in metrics),
        ]
        for setting in settings
        for run in setting.runs
    ]
    return Section("Runs", [Table(["", "folder", "seed", "best validation", *(f"test {m}" for m in metrics)], rows)])


def _validation(run: FinishedRun) -> float | None:
    score = (run.results.get("best") or {}).get("score")
    return None if score is None else float(score)


def _rounded(number: float | None) -> int | None:
    return None if number is None else round(number)


def _text(value: Any) -> str:
    return "" if value is None else option_text(value)
