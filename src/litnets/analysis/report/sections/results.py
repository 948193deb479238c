"""The headline: test metrics with their confidence intervals, beside the baselines that must be beaten."""

from collections.abc import Mapping
from typing import Any

from litnets.analysis.compare import main_metric
from litnets.analysis.finished_run import best_baseline, is_better
from litnets.analysis.pixel_counts import PixelCounts, iou_interval
from litnets.analysis.report.blocks import Block, Note, Section, Table
from litnets.analysis.report.intervals import (
    Interval,
    classification_intervals,
    forecast_intervals,
    regression_intervals,
)
from litnets.analysis.report.predictions import ClassPredictions, ValuePredictions
from litnets.analysis.report.record import Record


def intervals(record: Record) -> dict[str, Interval]:
    """Return the 95% intervals of the test metrics, by name; empty without recorded predictions."""
    if record.test is None or not len(record.test.frame):
        return {}
    pixels = PixelCounts.of(record.test)
    if pixels is not None:
        return {"iou": iou_interval(pixels)}
    if "class_names" in record.description:
        return classification_intervals(ClassPredictions(record.test))
    values = ValuePredictions(record.test)
    return forecast_intervals(values) if "channel_names" in record.description else regression_intervals(values)


def verdict(record: Record, limits: Mapping[str, Interval]) -> Note:
    """Return the first line of the report: how good the network is, and whether it beats the best baseline."""
    if not record.test_metrics:
        return Note(f"This run has no test metrics; `litnets test {record.run.folder}` prints them.", is_warning=True)
    metric = main_metric([record.finished])
    value = record.test_metrics[metric]
    low, high = limits.get(metric, (value, value))
    result = f"test {metric} {value:.4f}" + (f" [{low:.4f}, {high:.4f}]" if metric in limits else "")
    compared = best_baseline(record.baselines, metric)
    if compared is None:
        return Note(f"{result[0].upper()}{result[1:]}.")
    name, score = compared
    if not is_better(metric, value, score):
        text = f"The network does not beat the baseline {name} ({metric} {score:.4f}): {result}."
        return Note(text, is_warning=True)
    if metric in limits and low <= score <= high:
        text = f"The network may not be better than the baseline {name} ({metric} {score:.4f}): {result}."
        return Note(text, is_warning=True)
    return Note(f"The network beats the best baseline, {name} ({metric} {score:.4f}): {result}.")


def headline(record: Record, limits: Mapping[str, Interval]) -> Section | None:
    """Build the table of test metrics; None if the run was not tested."""
    if not record.test_metrics:
        return None
    baselines = record.baselines
    head = ["metric", "network", *(["95% interval"] if limits else []), *baselines]
    rows: list[list[Any]] = []
    for name, value in record.results["test"].items():
        interval = [_interval(limits.get(name))] if limits else []
        rows.append(
            [
                name,
                "not a number" if value is None else value,
                *interval,
                *(values.get(name) for values in baselines.values()),
            ]
        )
    blocks: list[Block] = [Table(head, rows, caption=_caption(record, limits))]
    if changes := record.results.get("data_changes"):
        blocks.append(Note(f"The data had changed since the training: {changes}.", is_warning=True))
    return Section("Test results", [*blocks, *_calibration(record.results.get("calibration"))])


def _interval(interval: Interval | None) -> str | None:
    return None if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"  # noqa: RUF001


def _caption(record: Record, limits: Mapping[str, Interval]) -> str:
    samples, recorded = record.description.get("samples"), record.description.get("recorded")
    lines = []
    if samples:
        lines.append(f"{samples:,} test samples, predicted by the best checkpoint.")
    if limits:
        resampled = "blocks of overlapping windows" if "channel_names" in record.description else "the test samples"
        delong = ", and DeLong's method for auroc" if "auroc" in limits else ""
        lines.append(f"Intervals: bootstrap over {resampled}{delong}; another seed may differ by more.")
    if samples and recorded and recorded < samples:
        lines.append(f"Intervals and charts use the {recorded:,} samples that are recorded, chosen at random.")
    return " ".join(lines)


def _calibration(calibration: Mapping[str, Any] | None) -> list[Block]:
    """Return the table of what the calibration with the validation split has changed, on the test split."""
    if not calibration:
        return []
    blocks: list[Block] = []
    before, after, temperature = (calibration.get(name) for name in ("before", "after", "temperature"))
    if before and after and temperature:
        rows = [[name, value, after.get(name)] for name, value in before.items()]
        caption = f"Temperature {temperature:.3f}, fitted on the validation split. Lower metrics are better."
        blocks.append(Table(["metric", "before", "after"], rows, "Calibration of the probabilities", caption))
    coverage, bounds = calibration.get("coverage"), calibration.get("coverage_interval")
    if coverage is not None and bounds:
        classes = calibration.get("mean_set_size")
        kind = "intervals" if classes is None else "sets"
        size = "" if classes is None else f", with {classes:.2f} classes on average"
        text = f"The 90% prediction {kind} cover {coverage:.1%} of the test targets{size}"
        blocks.append(Note(f"{text} (95% interval of the coverage: {bounds[0]:.1%} to {bounds[1]:.1%})."))
    return blocks
