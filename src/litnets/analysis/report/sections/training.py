"""What was trained, by which command and on what; the curves of the training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litnets.analysis.report.blocks import Block, Code, Figures, Note, Section, Table
from litnets.analysis.report.formatting import format_cell
from litnets.analysis.report.record import Record
from litnets.analysis.report.svg import Figure, Line, line_chart
from litnets.runs.storage import read_text

_MAX_CURVES = 8


def setup(record: Record) -> Section:
    """Build the section about the command, the code and the hardware."""
    environment, results = record.environment, record.results
    hardware: Mapping[str, Any] = environment.get("hardware") or {}
    git: Mapping[str, Any] = environment.get("git") or {}
    commit = str(git.get("commit") or "")
    gpus = ", ".join(map(str, hardware.get("gpus") or [])) or "none"
    versions = environment.get("versions") or {}
    facts = {
        "command": environment.get("command"),
        "model": record.class_of("model"),
        "data": record.class_of("data"),
        "parameters": results.get("parameters"),
        "seed": str(environment.get("seed", "")),
        "started": environment.get("started"),
        "training": _training(results),
        "stopped because": results.get("stop_reason"),
        "code": commit and f"commit {commit[:12]}{' with uncommitted changes' if git.get('dirty') else ''}",
        "processor": hardware.get("processor") and f"{hardware['processor']}, threads: {hardware.get('threads')}",
        "GPUs": hardware and gpus,
        "system": hardware.get("system"),
        "versions": ", ".join(
            [f"Python {environment.get('python')}", *(f"{name} {version}" for name, version in versions.items())]
        ),
    }
    rows = [(name, format_cell(value)) for name, value in facts.items() if value not in (None, "", {})]
    blocks: list[Block] = [Table([], rows)]
    attempts = environment.get("attempts") or []
    if len(attempts) > 1:
        resumed = [(one.get("started"), one.get("command")) for one in attempts[1:]]
        blocks.append(Table(["resumed", "command"], resumed))
    path = record.run.configs[-1]
    blocks.append(Code(f"Configuration ({path.name})", read_text(path)))
    return Section("What was trained", blocks)


def _training(results: Mapping[str, Any]) -> str:
    """Return one line with the length and the speed of the training."""
    units = {
        "epochs": "{:,} epochs",
        "steps": "{:,} steps",
        "seconds": "{:,.1f} s",
        "samples_per_second": "{:,} samples/s",
    }
    return ", ".join(text.format(results[name]) for name, text in units.items() if results.get(name) is not None)


def curves(record: Record) -> Section | None:
    """Build the section with loss, metrics and learning rate; None if nothing was logged."""
    metrics = record.metrics
    if "epoch" not in metrics:
        return None
    best = (record.results.get("best") or {}).get("epoch")
    names = dict.fromkeys(
        name.partition("/")[2] for name in metrics if name.startswith(("train/", "val/")) and name.count("/") == 1
    )
    figures: list[Figure] = []
    for name in [name for name in names if not name.endswith("_step")][:_MAX_CURVES]:
        lines = [_per_epoch(metrics, split, name, index) for index, split in enumerate(("train", "val"))]
        lines = [line for line in lines if len(line.x)]
        if lines:
            caption = f"Best epoch: {best} (vertical line)." if best and not figures else ""
            figures.append(_curve(name, lines, best, caption))
    figures += _learning_rates(metrics)
    if not figures:
        return None
    note = [] if best else [Note("No metric was monitored, so no epoch is marked as the best.")]
    return Section("Training curves", [Figures(figures), *note])


def _curve(name: str, lines: list[Line], best: int | None, caption: str) -> Figure:
    values = np.concatenate([np.asarray(line.y) for line in lines])
    is_log = name == "loss" and bool((values > 0).all()) and float(values.max()) > 20 * float(values.min())
    limits = None
    epochs = np.concatenate([np.asarray(line.x) for line in lines])
    if epochs.min() == epochs.max():
        limits = (float(epochs.min()) - 0.5, float(epochs.max()) + 0.5)
    return line_chart(
        name, lines, "epoch", name, caption=caption, is_log=is_log, counts_x=True, mark=best, x_range=limits
    )


def _per_epoch(metrics: Mapping[str, NDArray[np.float64]], split: str, name: str, color: int) -> Line:
    """Return the last value of a metric in each epoch. Epochs count from 1."""
    values = metrics.get(f"{split}/{name}", np.array([]))
    rows = np.flatnonzero(np.isfinite(values))
    last = dict(zip(metrics["epoch"][rows].tolist(), values[rows].tolist(), strict=True))
    epochs = sorted(last)
    title = {"train": "training", "val": "validation"}[split]
    return Line(title, np.array(epochs) + 1, np.array([last[epoch] for epoch in epochs]), "line", color)


def _learning_rates(metrics: Mapping[str, NDArray[np.float64]]) -> list[Figure]:
    names = [name for name in metrics if name == "lr" or name.startswith("lr/")] if "step" in metrics else []
    lines = []
    for name in names:
        rows = np.flatnonzero(np.isfinite(metrics[name]))
        rows = rows[np.argsort(metrics["step"][rows], kind="stable")]
        lines.append(Line(name if len(names) > 1 else "", metrics["step"][rows], metrics[name][rows]))
    lines = [line for line in lines if len(line.x)]
    return [line_chart("learning rate", lines, "step", "learning rate", counts_x=True)] if lines else []
