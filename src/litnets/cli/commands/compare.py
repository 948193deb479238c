"""`litnets compare`: show which run is best, and whether that is more than noise. Imports no torch.

litnets compare checkpoints/digits_mlp                     all runs of an experiment
litnets compare RUN_1 RUN_2 --output comparison.csv
"""

import argparse
import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.analysis.compare import (
    NetworkComparison,
    Setting,
    compare_networks,
    compare_settings,
    differences,
    group_runs,
    main_metric,
    score_interval,
)
from litnets.analysis.finished_run import FinishedRun, is_lower_better
from litnets.analysis.significance import SeedComparison
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"compare: {message}; `litnets compare --help` shows how to use it")


def compare(args: list[str]) -> int:
    """Print the comparison of runs, and return the exit code.

    Args:
        args: Runs and options.

    Raises:
        InputError: There is no such run, fewer than two runs were tested, or a tested run lacks the metric.
    """
    parser = _Parser("litnets compare", None, _DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, experiments or patterns")
    parser.add_argument("--metric", help="test metric to compare by; default: the monitored one")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the comparison to FILE.csv or FILE.json")
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
    verdicts = _judge(settings, metric)
    if options.output is not None:
        _write(options.output, settings, options_of, metric, verdicts)
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
    if path.suffix not in (".csv", ".json"):
        raise InputError(f"--output {path}: expected a name that ends in .csv or .json")
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise InputError(f"--output {path} exists; --overwrite replaces it")


def _print_differences(options_of: dict[str, dict[str, Any]]) -> None:
    """Print the label of each setting, and the options in which the settings differ."""
    no_options = "all runs differ only in their seed" if len(options_of) == 1 else "without the options of the others"
    for label, options in options_of.items():
        shown = [f"{_short(name)}={_class_name(value)}" for name, value in list(options.items())[:_MAX_OPTIONS]]
        if len(options) > _MAX_OPTIONS:
            shown.append(f"and {len(options) - _MAX_OPTIONS} more")
        print(printable(f"{label}  {', '.join(shown) or no_options}"))


def _short(name: str) -> str:
    return name.replace(".init_args.", ".").removesuffix(".class_path")


def _class_name(value: Any) -> Any:
    return value.rpartition(".")[2] if isinstance(value, str) and value.startswith("litnets.") else value


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
            _mean_and_deviation(best),
            _mean_and_deviation(setting.scores(metric)) + _interval(setting, metric),
        )
    Console(markup=False, emoji=False, highlight=False).print(table)


def _mean_and_deviation(scores: Sequence[float]) -> str:
    if not scores:
        return ""
    mean = f"{statistics.mean(scores):.4f}"
    return mean if len(scores) == 1 else f"{mean} ± {statistics.stdev(scores):.4f}"


def _interval(setting: Setting, metric: str) -> str:
    interval = score_interval(setting.runs[0], metric) if len(setting.runs) == 1 else None
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


Verdict = dict[str, Any]


def _judge(settings: Sequence[Setting], metric: str) -> list[Verdict]:
    """Print whether A is better than each other setting, and return the comparisons."""
    if len(settings) == 1:
        print("The runs differ only in their seed: their spread shows the noise of training.")
        return []
    if all(len(setting.runs) > 1 for setting in settings):
        print(f"Settings, compared over their seeds (Welch's t-test of test {metric}; would other seeds agree?)")
        compared = compare_settings(settings, metric)
        for other, result in compared:
            print(_describe_settings(other, result, metric))
        return [{"a": "A", "b": other.label, "of": "settings", **asdict(result)} for other, result in compared]
    print("Networks, compared on their test samples (for the noise of training, add runs with other seeds)")
    verdicts = []
    first = settings[0].runs[0]
    for other in settings[1:]:
        try:
            compared_networks = compare_networks(first, other.runs[0])
        except InputError as error:
            print(f"  A and {other.label}: {printable(str(error))}")
            continue
        _print_networks(other.label, compared_networks)
        verdicts.append({"a": "A", "b": other.label, "of": "networks", **asdict(compared_networks)})
    return verdicts


def _describe_settings(other: Setting, result: SeedComparison, metric: str) -> str:
    low, high = result.interval
    numbers = f"{metric} {result.difference:+.4f} [{low:+.4f}, {high:+.4f}], p = {result.p_value:.2g}"
    if result.is_significant:
        b_is_better = (result.difference < 0) == is_lower_better(metric)
        return f"  {other.label if b_is_better else 'A'} is better: {other.label} - A: {numbers}"
    seeds = "more than 1,000" if result.seeds_needed is None else f"about {result.seeds_needed:,}"
    return f"  A and {other.label}: cannot tell ({seeds} seeds of each needed): {other.label} - A: {numbers}"


def _print_networks(label: str, result: NetworkComparison) -> None:
    low, high = result.interval
    b_is_better = (result.difference < 0) == (result.measure == "squared error")
    verdict = f"{label if b_is_better else 'A'} is better" if result.is_significant else f"A and {label}: cannot tell"
    test = "" if result.p_value is None else f", {result.test} p = {result.p_value:.2g}"
    print(
        f"  {verdict}: {label} - A on {result.samples:,} samples: {result.measure} {result.difference:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]{test}"
    )
    if not result.flips:
        return
    print("  samples that only one of them answers correctly:")
    table = Table("sample", "target", "A", label, box=box.SIMPLE_HEAD)
    for flip in result.flips[:_MAX_FLIPS]:
        table.add_row(*map(printable, (flip.sample, flip.target, flip.prediction_a, flip.prediction_b)))
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    if len(result.flips) > _MAX_FLIPS:
        print(f"  and {len(result.flips) - _MAX_FLIPS:,} more")


def _write(
    path: Path, settings: Sequence[Setting], options_of: dict[str, dict[str, Any]], metric: str, verdicts: list[Verdict]
) -> None:
    """Write one CSV row per run, or a JSON file that also holds the comparisons."""
    runs = [
        {
            "setting": setting.label,
            "run": str(run.run.folder),
            "seed": run.seed,
            **{_short(name): value for name, value in options_of[setting.label].items()},
            **{name: run.results.get(name) for name in ("parameters", "epochs", "seconds", "samples_per_second")},
            "validation": (run.results.get("best") or {}).get("score"),
            **{f"test_{name}": value for name, value in run.test.items()},
        }
        for setting in settings
        for run in setting.runs
    ]
    if path.suffix == ".json":
        write_json(path, {"metric": metric, "runs": runs, "comparisons": verdicts})
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for run in runs for name in run), lineterminator="\n")
    writer.writeheader()
    for run in runs:
        cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in run.items()}
        writer.writerow({name: "" if run[name] is None else csv_cell(cell) for name, cell in cells.items()})
    write_text(path, text.getvalue())
