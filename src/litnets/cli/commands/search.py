"""`litnets search`: search hyperparameters with Optuna.

litnets search --config configs/digits_mlp.yaml --space configs/spaces/mlp.yaml --trials 30
litnets search --model CNNClassifier --data Digits --space "model.lr=log(1e-4,1e-1)" "model.dropout=[0,0.2,0.4]"
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from litnets.analysis.search_page import describe_spread, search_page
from litnets.cli.build import BuildCLI, check_options
from litnets.cli.in_process import restored_process_state, train_in_folder
from litnets.cli.main import run
from litnets.cli.parsed_fit import ParsedFit
from litnets.cli.several_runs import Parser, stopped_by_interrupt
from litnets.errors import InputError
from litnets.runs.print_results import count
from litnets.runs.storage import write_text
from litnets.safety.escaping import printable, without_passwords
from litnets.training.signals import Signals
from litnets.tuning.halving import rungs
from litnets.tuning.parent import discarded_if_refused, open_parent
from litnets.tuning.search import Settings, search_trials, train_final_runs
from litnets.tuning.search_results import summarize_search, write_search
from litnets.tuning.space import Parameter, read_space
from litnets.tuning.trials import GRACE_PERIOD, Trials, grid

_GRACE = f"{GRACE_PERIOD // 60} minutes"
_DESCRIPTION = """\
Search hyperparameters: train a trial for each choice of values, give the best ones more epochs, and train the winner
again with fresh seeds.

Each trial is an ordinary run in checkpoints/<experiment>/search_<time>/trial_<k>. Trials are compared on the validation
split; the test split is read only for the winner. If the command is interrupted, run it again to continue.

values of an option:
  "model.lr=log(1e-4,1e-1)"       numbers on a logarithmic scale
  "model.dropout=uniform(0,0.5)"  numbers
  "model.num_layers=int(1,4)"     whole numbers; logint(16,512) on a logarithmic scale
  "data.batch_size=[32,64,128]"   a list"""


def search(args: list[str]) -> int:
    """Search hyperparameters, and return the exit code.

    Args:
        args: Options of the command and of `fit`.
    """
    parser = Parser("search", _DESCRIPTION)
    parser.add_argument("--space", nargs="+", required=True, metavar="SPACE", help="YAML file, or OPTION=VALUES")
    parser.add_argument("--trials", type=_count, default=20, metavar="N", help="number of trials; default: 20")
    parser.add_argument(
        "--budget", type=_duration, metavar="TIME", help="time after which no training starts, such as 1h30m"
    )
    parser.add_argument(
        "--sampler", choices=("tpe", "random", "grid"), default="tpe", help="how values are chosen; default: tpe"
    )
    parser.add_argument("--no_halving", action="store_true", help="train every trial to the end")
    parser.add_argument(
        "--min_epochs", type=_count, metavar="N", help="epochs before the first comparison; default: a ninth of all"
    )
    parser.add_argument(
        "--final_seeds", type=_count, default=3, metavar="N", help="fresh seeds to train the winner with; default: 3"
    )
    parser.add_argument("--storage", metavar="URL", help="URL of an Optuna database that several machines share")
    parser.add_argument("--study", metavar="NAME", help="name of the study in --storage; default: the experiment")
    options, fit_args = parser.split(args)
    return run(partial(_search, options=options), fit_args)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)


def _duration(text: str) -> float:
    """Return the seconds of a duration such as 90s, 10m or 1h30m."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if match is None or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"expected a duration such as 90s, 10m or 1h30m, got {text}")
    return float(sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)))


def _search(args: list[str], signals: Signals, *, options: argparse.Namespace) -> None:
    space = read_space(options.space)
    parsed = ParsedFit("search", args, signals)
    with restored_process_state():
        base = BuildCLI(args)
    settings = _settings(options, args, space, base)
    command = {
        "command": "search",
        "space": [f"{parameter.name}={parameter}" for parameter in space],
        **{name: getattr(options, name) for name in ("sampler", "no_halving", "min_epochs", "study")},
        "storage": options.storage and without_passwords(options.storage),
        "options": args,
        "configs": parsed.configs,
    }
    experiment = parsed.options.experiment
    check_space(args, space)
    parent = open_parent(Path(parsed.options.runs_dir), experiment, "search", command)
    with discarded_if_refused(parent):
        trials = Trials(parent, space, settings.mode, options.storage, options.study or experiment)
        trials.check_settings(settings.shared())
    started, epochs = len(trials.read()), " → ".join(map(str, settings.rungs))
    print(printable(f"search: {started} of {settings.trials} trials started; epochs {epochs} -> {parent}"), flush=True)
    with stopped_by_interrupt("search", parent, signals):
        results = _run(parent, settings, trials, parsed)
    if results is not None:
        files = write_search(parent, settings, trials.read(), results)
        write_text(parent / "report.html", search_page(parent, results))
        _print_results(parent, results, [*files, "report.html"])


def _run(parent: Path, settings: Settings, trials: Trials, parsed: ParsedFit) -> dict[str, Any] | None:
    """Train the trials and the winner; return the results, or None while other machines are training trials."""
    with trials.heartbeat():
        winner = search_trials(parent, settings, trials, train_in_folder, parsed.check_configs)
    if stale := trials.give_up_stale():
        print(f"search: gave up {count(stale, 'trial')} of other machines: no heartbeat for {_GRACE}")
    if others := sum(trial.state == "training" for trial in trials.read()):
        print(f"search: other machines are training {count(others, 'trial')}; the last one trains the winner again")
        print(f"search: if none of them is running any more, repeat this command after {_GRACE}")
        return None
    print(printable(f"search: the best is {winner.name}; training it with fresh seeds"), flush=True)
    final = train_final_runs(parent, settings, winner, train_in_folder, parsed.check_configs)
    return summarize_search(parent, settings, trials, winner, final)


def _settings(
    options: argparse.Namespace, fit_options: list[str], space: Sequence[Parameter], base: BuildCLI
) -> Settings:
    """Return the settings of the search.

    Args:
        options: The options of the search.
        fit_options: The options of `fit`.
        space: The parameters to search.
        base: What the options of `fit` build; the recipe may have chosen some of them.
    """
    epochs, checkpoint = base.options.trainer.max_epochs, base.options.checkpoint
    if epochs is None or epochs < 1:
        raise InputError(f"search: expected a number of epochs for each trial, got --trainer.max_epochs {epochs}")
    if checkpoint.monitor is None:
        raise InputError("search: no metric to compare trials by; set --monitor, for example to val/loss")
    if options.sampler == "grid":
        grid(space, seed=0)  # which raises an error for a continuous parameter
    return Settings(
        [*fit_options, f"--trainer.max_epochs={epochs}"],
        space,
        checkpoint.monitor,
        checkpoint.mode,
        [epochs] if options.no_halving else rungs(epochs, options.min_epochs),
        options.sampler,
        int(base.options.seed_everything or 0),
        options.trials,
        options.budget,
        options.jobs,
        options.final_seeds,
    )


def check_space(fit_options: Sequence[str], space: Sequence[Parameter]) -> None:
    """Check all values of lists and the bounds of the other parameters, by building data and model with them.

    Raises:
        InputError: A value is rejected. The message names the option and the value.
    """
    for examples in zip_longest(*(parameter.examples for parameter in space)):
        values = {
            parameter.name: example if example is not None else parameter.examples[0]
            for parameter, example in zip(space, examples, strict=True)
        }
        try:
            check_options([*fit_options, *_as_options(values)])
        except InputError as error:
            _blame_value(fit_options, values)
            raise InputError(f"--space {' '.join(_as_options(values))}: {error}") from error


def _blame_value(fit_options: Sequence[str], values: Mapping[str, str]) -> None:
    """Raise InputError for the first value that is rejected with all other options at their defaults."""
    for name, value in values.items():
        try:
            check_options([*fit_options, *_as_options({name: value})])
        except InputError as error:
            raise InputError(f"--space {name}: {value} is rejected: {error}") from error


def _as_options(values: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def _print_results(folder: Path, results: Mapping[str, Any], files: Sequence[str]) -> None:
    final, winner, monitor = results["final"], results["winner"], results["monitor"]
    lines = ["", f"best values ({winner['trial']}):"]
    lines += [f"  --{name} {value}" for name, value in winner["values"].items()]
    validation = describe_spread(final["validation"])
    lines.append(f"{monitor}: {winner['score']:.4f} in the search, {validation} with fresh seeds")
    if results["optimism"] > 0:
        lines.append(f"  the search was optimistic by {results['optimism']:.4f}: it chose the best of its trials")
    lines += [f"test/{name}: {describe_spread(spread)}" for name, spread in final["test"].items()]
    if results["importance"]:
        fractions = ", ".join(f"{name} {fraction:.0%}" for name, fraction in results["importance"].items())
        count, epochs = results["importance_trials"], results["importance_epochs"]
        lines.append(f"importance: {fractions} ({count} trials, epoch {epochs})")
    trained, without = results["epochs_trained"], results["epochs_without_halving"]
    lines.append(f"trained {trained} of {without} epochs ({1 - trained / without:.0%} saved by successive halving)")
    lines += [f"results: {folder / files[0]}, {', '.join(files[1:])}", f"litnets fit --config {folder / 'best.yaml'}"]
    print(printable("\n".join(lines), lines=True))
