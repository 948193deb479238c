"""`litnets compare`: show which run is best, and whether that is more than noise. Does not import torch.

litnets compare checkpoints/digits_mlp                     all runs of an experiment
litnets compare RUN_1 RUN_2 --output comparison.html
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.analysis.compare import (
    Flip,
    NetworkComparison,
    Setting,
    differences,
    group_runs,
    main_metric,
    option_name,
    option_text,
)
from litnets.analysis.comparison_page import comparison_page
from litnets.analysis.finished_run import FinishedRun
from litnets.analysis.verdicts import Judgement, describe_scores, judge, mean_and_deviation
from litnets.cli.command_parser import CommandParser
from litnets.errors import InputError
from litnets.runs.find import find_runs
from litnets.runs.folder import Run
from litnets.runs.storage import write_json, write_text
from litnets.safety.escaping import csv_cell, printable

_DESCRIPTION = """\
Compare runs: what differs between their settings, how good each is, and whether that is more than noise.

RUN is a run folder, an experiment, or a pattern such as 'checkpoints/digits_*'. Runs that differ only in their seed are
runs of one setting. The settings are ordered by their validation score; A is the best.

Single runs of two settings are compared as two networks, on the same test samples. With several seeds of each setting,
their scores are compared, which shows whether training with another seed would give the same result."""
_MAX_OPTIONS = 12  # of a setting, in the list of differences
_MAX_FLIPS = 10


def compare(args: list[str]) -> int:
    """Print the comparison of runs, and return the exit code.

    Args:
        args: Runs and options.

    Raises:
        InputError: There is no such run, fewer than two runs were tested, or a tested run lacks the metric.
    """
    parser = CommandParser("compare", _DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, experiments or patterns")
    parser.add_argument("--metric", help="test metric to compare by; default: the monitored one")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the comparison to FILE.html, .csv or .json")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--runs_dir", type=Path, default=Path("checkpoints"), help="folder of the experiments")
    options = parser.parse_args(args)
    _check_output(options.output, options.overwrite)
    runs = _load(find_runs(options.runs, options.runs_dir))
    metric = options.metric or main_metric(runs)
    for run in runs:
        if metric not in run.test:
            raise InputError(f"{run.run.folder} has no test metric '{metric}'; it has {', '.join(run.test)}")
    settings = group_runs(runs)
    options_of = differences(settings)
    _print_differences(options_of)
    _print_table(settings, metric)
    judgement = judge(settings, metric)
    _print_judgement(judgement)
    if options.output is not None:
        _write(options.output, settings, options_of, metric, judgement)
        print(f"written to {printable(str(options.output))}")
    return 0


def _load(runs: Sequence[Run]) -> list[FinishedRun]:
    """Return the runs that were tested, and print the names of the others."""
    untested = [run for run in runs if not run.read_results().get("test")]
    if len(runs) - len(untested) < 2:
        example = f"; `litnets test {untested[0].folder}` tests a run" if untested else ""
        raise InputError(f"compare: expected at least two tested runs, got {len(runs) - len(untested)}{example}")
    if untested:
        names = ", ".join(str(run.folder) for run in untested)
        print(printable(f"left out, because they were not tested: {names}"))
    return [FinishedRun.load(run) for run in runs if run not in untested]


def _check_output(path: Path | None, overwrite: bool) -> None:
    if path is None:
        return
    if path.suffix not in (".html", ".csv", ".json"):
        raise InputError(f"--output {path}: expected a name that ends in .html, .csv or .json")
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise InputError(f"--output {path} exists; --overwrite replaces it")


def _print_differences(options_of: dict[str, dict[str, Any]]) -> None:
    """Print the label of each setting, and the options in which the settings differ."""
    no_options = "all runs differ only in their seed" if len(options_of) == 1 else "without the options of the others"
    for label, options in options_of.items():
        shown = [f"{option_name(name)}={option_text(value)}" for name, value in list(options.items())[:_MAX_OPTIONS]]
        if len(options) > _MAX_OPTIONS:
            shown.append(f"and {len(options) - _MAX_OPTIONS} more")
        print(printable(f"{label}  {', '.join(shown) or no_options}"))


def _print_table(settings: Sequence[Setting], metric: str) -> None:
    monitor = (settings[0].runs[0].results.get("best") or {}).get("monitor", "validation")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("", "runs", "params", "seconds", "samples/s", f"best\n{monitor}", f"test\n{metric}"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for setting in settings:
        best = [run.results["best"]["score"] for run in setting.runs if run.results.get("best")]
        numbers = [setting.mean(name) for name in ("parameters", "seconds", "samples_per_second")]
        table.add_row(
            setting.label,
            str(len(setting.runs)),
            *("" if number is None else f"{number:,.0f}" for number in numbers),
            mean_and_deviation(best),
            describe_scores(setting, metric),
        )
    Console(markup=False, emoji=False, highlight=False).print(table)


def _print_judgement(judgement: Judgement) -> None:
    """Print whether A is better than each other setting, and the samples that only one of two networks gets right."""
    print(judgement.question)
    for verdict in judgement.verdicts:
        print(printable(f"  {verdict.text}"))
        if isinstance(verdict.comparison, NetworkComparison) and verdict.comparison.flips:
            _print_flips(verdict.other, verdict.comparison.flips)


def _print_flips(label: str, flips: Sequence[Flip]) -> None:
    print("  samples that only one of them answers correctly:")
    table = Table("sample", "target", "A", label, box=box.SIMPLE_HEAD)
    for flip in flips[:_MAX_FLIPS]:
        table.add_row(*map(printable, (flip.sample, flip.target, flip.prediction_a, flip.prediction_b)))
    Console(markup=False, emoji=False, highlight=False).print(table)
    if len(flips) > _MAX_FLIPS:
        print(f"  and {len(flips) - _MAX_FLIPS:,} more")


def _write(
    path: Path, settings: Sequence[Setting], options_of: dict[str, dict[str, Any]], metric: str, judgement: Judgement
) -> None:
    """Write one CSV row per run, a JSON file that also holds the comparisons, or a page with pictures."""
    if path.suffix == ".html":
        write_text(path, comparison_page(settings, options_of, metric, judgement))
        return
    runs = [
        {
            "setting": setting.label,
            "run": str(run.run.folder),
            "seed": run.seed,
            **{option_name(name): value for name, value in options_of[setting.label].items()},
            **{name: run.results.get(name) for name in ("parameters", "epochs", "seconds", "samples_per_second")},
            "validation": (run.results.get("best") or {}).get("score"),
            **{f"test_{name}": value for name, value in run.test.items()},
        }
        for setting in settings
        for run in setting.runs
    ]
    if path.suffix == ".json":
        comparisons = [verdict.to_dict() for verdict in judgement.verdicts if verdict.comparison is not None]
        write_json(path, {"metric": metric, "runs": runs, "comparisons": comparisons})
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for run in runs for name in run), lineterminator="\n")
    writer.writeheader()
    for run in runs:
        cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in run.items()}
        writer.writerow({name: "" if run[name] is None else csv_cell(cell) for name, cell in cells.items()})
    write_text(path, text.getvalue())
