"""Summarize and print the results of a run."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.runs.folder import Run
from litnets.safety.escaping import printable


def summarize(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Split logged metrics into overall ones and those of single classes, without the name of the split.

    Args:
        metrics: Values by logged name, such as `test/f1` or, for a class, target or channel, `test/f1/shirt`.

    Returns:
        The overall metrics by name, and the others by class (target, channel) and name.

    Example:
        >>> summarize({"test/f1": 0.5, "test/f1/shirt": 0.75})
        ({'f1': 0.5}, {'shirt': {'f1': 0.75}})
    """
    overall: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        _, _, rest = name.partition("/")
        metric, _, label = (rest or name).partition("/")
        if label:
            parts.setdefault(label, {})[metric] = float(value)
        else:
            overall[metric] = float(value)
    return overall, parts


def print_results(title: str, metrics: Mapping[str, float], breakdown: str = "class") -> None:
    """Print the metrics of a split as a table, one per line, and those of each class if there are at most 20.

    Args:
        title: The heading.
        metrics: Values by logged name.
        breakdown: What the metrics are broken down by: class, target or channel.
    """
    overall, parts = summarize(metrics)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    table.add_column("value", justify="right")
    shown = {name: f"{value:.4f}" for name, value in overall.items()}
    if shown.get("mse") == shown.get("loss"):  # as of forecasts, unless they have another loss
        shown.pop("loss", None)
    for name, text in shown.items():
        table.add_row(printable(name), text)
    console = Console(markup=False, emoji=False)  # a class may be called [unk] or :cat:
    console.print(printable(title), style="bold", soft_wrap=True, highlight=False)
    console.print(table)
    if 0 < len(parts) <= 20:
        names: list[str] = list(next(iter(parts.values())))
        part_table = Table(breakdown, *map(printable, names), box=box.SIMPLE_HEAD)
        for column in part_table.columns[1:]:
            column.justify = "right"
        for label, values in parts.items():
            part_table.add_row(printable(label), *(f"{values[name]:.4f}" for name in names))
        console.print(part_table)


def count(number: int, noun: str) -> str:
    """Return `1 epoch` or `2 epochs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def best_of(results: Mapping[str, Any]) -> str:
    """Return one line with the best validation score, its epoch, and how long the training took."""
    best = results.get("best") or {}
    score = best_score(best) if best else "no validation score"
    line = f"{score}; {count(results['epochs'], 'epoch')} in {results['seconds']:.1f} s"
    rate = results.get("samples_per_second")
    return f"{line}, {rate:,} samples/s" if rate else line


def best_score(best: Mapping[str, Any]) -> str:
    """Return the entry `best` of results.json in words."""
    score = best.get("score")
    return f"best {best['monitor']} {'not a number' if score is None else f'{score:.4f}'} in epoch {best['epoch']}"


def print_end(results: Mapping[str, Any], run: Run, commands: Iterable[str]) -> None:
    """Print the end of a training: its best score, why it ended, the run folder, the report, and the next steps.

    Args:
        results: results.json.
        run: The run.
        commands: Further commands to suggest.
    """
    print(printable(best_of(results)))
    if reason := results.get("stop_reason"):
        print(printable(str(reason)))
    print(f"\nrun folder: {printable(str(run.folder))}")
    if run.report.exists():
        print(f"report: {printable(str(run.report))}")
    print("Next steps:")
    folder, experiment = shlex.quote(str(run.folder)), shlex.quote(str(run.folder.parent))
    steps = [] if results.get("test") else [f"litnets test {folder}"]
    steps += [] if run.report.exists() else [f"litnets report {folder}"]
    steps += [f"litnets predict {folder} NEW_FILE", f"tensorboard --logdir {experiment}", *commands]
    for command in steps:
        print(f"  {printable(command)}")
    print("  litnets --help    # compare, explain, export, ...")
