"""Train the runs of `litnets cv` and `litnets seeds`, print their scores, and write the results into their folder.

`litnets search` and `litnets lr` use the parser, too.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.analysis.combined_predictions import concatenate_predictions, ensemble_scores
from litnets.analysis.score_table import Part, ScoreTable
from litnets.analysis.scores_page import scores_page
from litnets.cli.command_parser import CommandParser
from litnets.cli.in_process import train_in_folder
from litnets.cli.parsed_fit import ParsedFit
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.print_results import best_score, count
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.storage import replace_non_finite, write_json, write_text
from litnets.safety.escaping import printable
from litnets.training.signals import Signals, Stop
from litnets.tuning.jobs import FinishedJob, Job, run_jobs
from litnets.tuning.parent import discarded_if_refused, open_parent

MAX_RUNS = 10_000


class Parser(CommandParser):
    """A parser for the options of a command, which leaves those of `fit` to `fit`."""

    def __init__(self, command: str, description: str, has_jobs: bool = True) -> None:
        usage = f"litnets {command} [--config FILE] [options] [any option of `litnets fit`]"
        super().__init__(command, description, usage=usage)
        if has_jobs:
            self.add_argument(
                "--jobs", type=int, default=1, metavar="N", help="number of runs at the same time; default: 1"
            )

    def split(self, args: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """Return the options of the command and those of `fit`.

        Raises:
            InputError: An option of the command is wrong.
        """
        options, fit_args = self.parse_known_args(args)
        max_jobs = max(16, 2 * (os.cpu_count() or 1))
        if not 1 <= getattr(options, "jobs", 1) <= max_jobs:
            raise InputError(f"{self.command}: --jobs: expected 1 to {max_jobs}, got {options.jobs}")
        return options, fit_args


def train_all(
    kind: str, parsed: ParsedFit, settings: Mapping[str, Any], jobs: Sequence[Job], num_workers: int
) -> tuple[Path, dict[str, Run]]:
    """Train all runs, or the rest of them if the same command was interrupted.

    Args:
        kind: The name of the command.
        parsed: The options of `fit`.
        settings: The options of the command.
        jobs: The runs to train.
        num_workers: Number of runs at the same time.

    Returns:
        The folder of the command, and the runs by their names.

    Raises:
        InputError: A run failed, or a configuration has changed since the first run.
        Stop: A signal ended the command. The runs have been saved.
    """
    command = {"command": kind, **settings, "options": parsed.args, "configs": parsed.configs}
    parent = open_parent(Path(parsed.options.runs_dir), parsed.options.experiment, kind, command)
    print(printable(f"{kind}: {count(len(jobs), 'run')} -> {parent}"), flush=True)
    waiting, runs, start = iter(jobs), dict[str, Run](), time.monotonic()

    def ask() -> Job | None:
        job = next(waiting, None)
        if job is not None:
            parsed.check_configs()
        return job

    def tell(finished: FinishedJob) -> None:
        name = finished.job.name
        if finished.error is not None:
            log = f" (its output: {parent / f'{name}.log'})" if finished.run.folder.exists() else ""
            raise InputError(f"{kind}: {name}: {finished.error}{log}")
        runs[name] = finished.run
        state = " (done before)" if finished.was_done else ""
        print(printable(f"{len(runs)}/{len(jobs)}  {name}  {_describe(finished.run)}{state}"), flush=True)

    with discarded_if_refused(parent), stopped_by_interrupt(kind, parent, parsed.signals):
        run_jobs(parent, ask, tell, train_in_folder, num_workers)
    print(f"{count(len(runs), 'run')} in {time.monotonic() - start:.1f} s")
    return parent, {job.name: runs[job.name] for job in jobs}


@contextmanager
def stopped_by_interrupt(kind: str, parent: Path, signals: Signals) -> Iterator[None]:
    """Report that a signal has interrupted a command, and how to continue it.

    Args:
        kind: The name of the command.
        parent: Its folder.
        signals: The signal handlers of the process.

    Raises:
        Stop: A signal ended the command, or Ctrl-C ended a run with KeyboardInterrupt.
    """
    try:
        yield
    except (KeyboardInterrupt, Stop) as error:
        print(f"{kind}: interrupted; run the command again to continue in {printable(str(parent))}", file=sys.stderr)
        if isinstance(error, Stop):
            raise
        signals.received = signal.SIGINT  # the handlers of a run received it, not these
        raise Stop(signal.SIGINT) from error


def _describe(run: Run) -> str:
    results = run.read_results()
    scores = [(name, value) for name, value in (results.get("test") or {}).items() if name != "loss"]
    test = "".join(f"test {name} {nan if value is None else value:.4f}  " for name, value in scores[:1])
    best = results.get("best")
    return test + (best_score(best) if best else "")


def print_scores(title: str, table: ScoreTable, ensemble: Mapping[str, float] | None = None) -> None:
    """Print the scores of each run, their mean, standard deviation and interval, and those of the ensemble."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("", *table.metrics):
        shown.add_column(printable(name), justify="right" if name else "left", no_wrap=True)
    rows = table.rows()
    for index, (name, values) in enumerate(rows):
        cells = ("" if value is None else f"{value:.4f}" for value in values)
        shown.add_row(printable(name), *cells, end_section=index in (len(table.scores) - 1, len(rows) - 1))
    if ensemble:
        cells = (f"{ensemble[metric]:.4f}" if metric in ensemble else "" for metric in table.metrics)
        shown.add_row("ensemble", *cells)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(printable(title), style="bold")
    console.print(shown)


def ensemble_of(runs: Mapping[str, Run], table: ScoreTable) -> tuple[dict[str, float] | None, str | None]:
    """Return the test scores of the ensemble of runs, or None and the reason why there are none."""
    try:
        predictions = [RecordedPredictions.load(run.recorded_predictions("test")) for run in runs.values()]
        scores = ensemble_scores(predictions, list(table.scores.values()))
    except FileNotFoundError:
        return None, "the test predictions were not recorded"
    except InputError as error:
        return None, str(error)
    return (scores, None) if scores else (None, "no test metric can be computed from recorded predictions")


def write_predictions(path: Path, runs: Mapping[str, Run], part: Part) -> str:
    """Write the predictions of all runs into one file, and return a line that reports it."""
    try:
        predictions = {name: RecordedPredictions.load(run.recorded_predictions(part)) for name, run in runs.items()}
    except FileNotFoundError:
        return "no out-of-fold predictions: the runs recorded none"
    concatenate_predictions(predictions).save(path)
    return f"out-of-fold predictions: {path}"


def write_results(parent: Path, table: ScoreTable, content: Mapping[str, Any]) -> str:
    """Write the table, the page and, last, the JSON file, and return a line that reports them."""
    kind = content["command"]
    write_text(parent / f"{kind}.csv", table.to_csv())
    write_text(parent / "report.html", scores_page(parent, replace_non_finite(content)))
    write_json(parent / f"{kind}.json", content)
    return f"results: {parent / f'{kind}.csv'}, {kind}.json, report.html"
