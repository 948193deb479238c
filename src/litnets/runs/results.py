"""The figures of a run, as results.json keeps them and as a person reads them."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def summarize(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Metrics of a split by their bare names, and those of each class (`test/f1/shirt`) by class and name."""
    whole: dict[str, float] = {}
    classes: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        _, _, rest = name.partition("/")
        metric, _, label = (rest or name).partition("/")
        if label:
            classes.setdefault(label, {})[metric] = float(value)
        else:
            whole[metric] = float(value)
    return whole, classes


def print_results(title: str, metrics: Mapping[str, float]) -> None:
    """A small table: the metrics of a split, one a line."""
    whole, classes = summarize(metrics)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in whole.items():
        table.add_row(name, f"{value:.4f}")
    console = Console(markup=False)  # a class may be called [unk]
    console.print(title, style="bold", soft_wrap=True, highlight=False)
    console.print(table)
    if 0 < len(classes) <= 20:
        names: list[str] = list(next(iter(classes.values())))
        per_class = Table("class", *names, box=box.SIMPLE_HEAD)
        for column in per_class.columns[1:]:
            column.justify = "right"
        for label, values in classes.items():
            per_class.add_row(label, *(f"{values[name]:.4f}" for name in names))
        console.print(per_class)


def best_of(results: Mapping[str, Any]) -> str:
    """One line: the best validation score, its epoch, how long it took."""
    best = results.get("best") or {}
    score = f"best {best['monitor']} {best['score']:.4f} in epoch {best['epoch']}" if best else "no validation score"
    rate = results.get("samples_per_second")
    return f"{score}; {results['epochs']} epochs in {results['seconds']:.1f} s" + (
        f", {rate:,} samples/s" if rate else ""
    )


def print_end(results: Mapping[str, Any], folder: Path, config: Path, commands: Iterable[str]) -> None:
    """What a training ends with: its best score, the run's folder and configuration, and what a person may want next;
    `commands` are further ones."""
    print(best_of(results))
    print(f"\nrun folder: {folder}")
    print("what next:")
    given, beside = shlex.quote(str(config)), shlex.quote(str(folder.parent))
    own = (f"litnets test --config {given}", f"litnets predict --config {given}")
    for command in (*own, f"tensorboard --logdir {beside}", *commands):
        print(f"  {command}")
