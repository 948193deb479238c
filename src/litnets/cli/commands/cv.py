"""`litnets cv`: cross-validate a network.

litnets cv --config configs/iris_mlp.yaml --folds 5
litnets cv --config configs/wine_mlp.yaml --folds 5 --repeats 3 --jobs 2 --model.lr 0.01
"""

from functools import partial
from typing import Any

from litnets.analysis.score_table import Part, ScoreTable, held_out_part, mean_test_train_ratio, scores_of
from litnets.cli.main import run
from litnets.cli.parsed_fit import ParsedFit
from litnets.cli.several_runs import (
    MAX_RUNS,
    Parser,
    ensemble_of,
    print_scores,
    train_all,
    write_predictions,
    write_results,
)
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.escaping import printable
from litnets.training.signals import Signals
from litnets.tuning.jobs import Job

_DESCRIPTION = """\
Train and test a network once per fold, and print the scores with their mean, standard deviation and 95% interval.

Each run is an ordinary run in checkpoints/<experiment>/cv_<time>/fold_<k>. The folds are stratified by class. Copies,
and samples of one group (--data.group_column, --data.group_pattern), stay together. The folds of a time series are
expanding windows. If the data come with a test split, the folds are the validation splits, and the test split is the
same for all. If the command is interrupted, run it again to continue."""


def cv(args: list[str]) -> int:
    """Cross-validate a network, and return the exit code.

    Args:
        args: Options of the command and of `fit`.
    """
    parser = Parser("cv", _DESCRIPTION)
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="number of folds; default: 5")
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="R", help="number of times to split into folds; default: 1"
    )
    options, fit_args = parser.split(args)
    for name, minimum in (("folds", 2), ("repeats", 1)):
        if (value := getattr(options, name)) < minimum:
            raise InputError(f"cv: --{name}: expected at least {minimum}, got {value}")
    if (runs := options.folds * options.repeats) > MAX_RUNS:
        raise InputError(f"cv: --folds, --repeats: expected at most {MAX_RUNS:,} runs, got {runs:,}")
    command = partial(_cross_validate, folds=options.folds, repeats=options.repeats, num_workers=options.jobs)
    return run(command, fit_args)


def _cross_validate(args: list[str], signals: Signals, *, folds: int, repeats: int, num_workers: int) -> None:
    parsed = ParsedFit("cv", args, signals)
    jobs = build_jobs(parsed, folds, repeats)
    parent, runs = train_all("cv", parsed, {"folds": folds, "repeats": repeats}, jobs, num_workers)
    folds_of_runs = list(runs.values())
    part = held_out_part(folds_of_runs)
    ratio = mean_test_train_ratio(folds_of_runs[:folds], part)
    table = ScoreTable({name: scores_of(run, part) for name, run in runs.items()}, ratio)
    content: dict[str, Any] = {"command": "cv", "folds": folds, "repeats": repeats, "evaluated_on": part}
    content |= table.to_dict()
    lines = [write_predictions(parent / "out_of_fold.parquet", runs, part)]
    print_scores(_title(part, folds, repeats), table)
    if part == "val":
        lines.insert(0, "note: each fold also chose the best epoch of its run, which makes its scores optimistic")
        content["test"], line = _evaluate_on_common_test(runs)
        lines += [line] if line else []
    else:
        lines.append("no ensemble: the networks have no test samples in common")
    lines.append("95% interval: corrected for the training samples that folds share (Nadeau and Bengio 2003)")
    lines.append(write_results(parent, table, content))
    for line in lines:
        print(printable(line))


def build_jobs(parsed: ParsedFit, folds: int, repeats: int) -> list[Job]:
    """Return a job for each fold of each repeat.

    Raises:
        InputError: The data have no folds, or the options choose one.
    """
    name = parsed.data_class.__name__
    if not parsed.data_takes("num_folds"):
        raise InputError(f"cv: {name} has no option num_folds; `litnets seeds` repeats the training on the same split")
    if parsed.data_arguments.get("num_folds") is not None or parsed.data_arguments.get("fold"):
        raise InputError("cv: --data.num_folds and --data.fold are set by --folds; omit them")
    if repeats > 1 and not parsed.data_takes("split_seed"):
        raise InputError(
            f"cv: --repeats {repeats}: {name} has only one way to split a series into folds; omit --repeats"
        )
    first_seed = int(parsed.data_arguments.get("split_seed") or 0)
    jobs = []
    for repeat in range(repeats):
        prefix = f"repeat_{repeat}_" if repeats > 1 else ""
        split = [f"--data.split_seed={first_seed + repeat}"] if repeats > 1 else []
        for fold in range(folds):
            options = [*parsed.args, f"--data.num_folds={folds}", f"--data.fold={fold}", *split]
            jobs.append(Job(f"{prefix}fold_{fold:0{len(str(folds - 1))}}", options))
    return jobs


def _title(part: Part, folds: int, repeats: int) -> str:
    times = f"{repeats} times {folds}" if repeats > 1 else str(folds)
    return f"{times} folds" + (", which are the validation splits" if part == "val" else "")


def _evaluate_on_common_test(runs: dict[str, Run]) -> tuple[dict[str, Any] | None, str | None]:
    """Print the scores on the test split of the data, with those of the ensemble; return them, and a line if there is
    no ensemble."""
    try:
        table = ScoreTable({name: scores_of(run, "test") for name, run in runs.items()}, None)
    except InputError:  # the data have no test split
        return None, None
    ensemble, reason = ensemble_of(runs, table)
    print_scores("the test split, which is the same for all", table, ensemble)
    return {**table.to_dict(), "ensemble": ensemble}, None if reason is None else f"no ensemble: {reason}"
