"""`litnets seeds`: train the same configuration with several seeds.

litnets seeds --config configs/digits_mlp.yaml --seeds 3
litnets seeds --config configs/digits_mlp.yaml --seeds 42,43,44 --jobs 3
"""

import re
from functools import partial

from litnets.analysis.score_table import ScoreTable, scores_of
from litnets.cli.main import run
from litnets.cli.parsed_fit import ParsedFit
from litnets.cli.several_runs import MAX_RUNS, Parser, ensemble_of, print_scores, train_all, write_results
from litnets.errors import InputError
from litnets.runs.print_results import count
from litnets.safety.escaping import printable
from litnets.training.signals import Signals
from litnets.tuning.jobs import Job

_DESCRIPTION = """\
Train and test a network once per seed, and print the scores with their mean, standard deviation and 95% interval.

Each run is an ordinary run in checkpoints/<experiment>/seeds_<time>/seed_<seed>. All runs have the same splits. If the
command is interrupted, run it again to continue."""


def seeds(args: list[str]) -> int:
    """Train with several seeds, and return the exit code.

    Args:
        args: Options of the command and of `fit`.
    """
    parser = Parser("seeds", _DESCRIPTION)
    parser.add_argument(
        "--seeds",
        default="5",
        metavar="N|A,B,...",
        help="number of seeds, starting at --seed_everything (42), or a list of seeds; default: 5",
    )
    options, fit_args = parser.split(_with_joined_seeds(args))
    return run(partial(_train_seeds, seeds=options.seeds, num_workers=options.jobs), fit_args)


def _with_joined_seeds(args: list[str]) -> list[str]:
    """Return the arguments with `--seeds=-1,-2` for `--seeds -1,-2`, which argparse would take for two options."""
    at = args.index("--seeds") if "--seeds" in args[:-1] else None
    if at is None or not re.match(r"-\d", args[at + 1]):
        return args
    return [*args[:at], f"--seeds={args[at + 1]}", *args[at + 2 :]]


def _train_seeds(args: list[str], signals: Signals, *, seeds: str, num_workers: int) -> None:
    parsed = ParsedFit("seeds", args, signals)
    numbers = _parse_seeds(seeds, parsed.options.seed_everything)
    jobs = [Job(f"seed_{number}", [*args, f"--seed_everything={number}"]) for number in numbers]
    parent, runs = train_all("seeds", parsed, {"seeds": numbers}, jobs, num_workers)
    table = ScoreTable({name: scores_of(run, "test") for name, run in runs.items()})
    ensemble, reason = ensemble_of(runs, table)
    print_scores(f"test, {count(len(numbers), 'seed')}", table, ensemble)
    content = {"command": "seeds", "seeds": numbers, **table.to_dict(), "ensemble": ensemble}
    results = write_results(parent, table, content)
    if reason is not None:
        print(printable(f"no ensemble: {reason}"))
    print(printable(results))


def _parse_seeds(text: str, first: object) -> list[int]:
    """Return the seeds of a list such as `42,43`; for a single number, that many seeds, starting at `first`."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and numbers:
        start = first if isinstance(first, int) and not isinstance(first, bool) else 42
        numbers = list(range(start, start + min(numbers[0], MAX_RUNS + 1)))
    if len(numbers) > MAX_RUNS:
        raise InputError(f"seeds: --seeds: expected at most {MAX_RUNS:,} seeds, got {text}")
    if len(numbers) < 2 or len(set(numbers)) < len(numbers):
        raise InputError(
            f"seeds: --seeds: expected at least 2, or a list of different seeds such as 42,43,44; got {text}"
        )
    if outside := [number for number in numbers if not 0 <= number < 2**32]:
        raise InputError(f"seeds: --seeds: expected seeds from 0 to {2**32 - 1}, got {outside[0]}")
    return numbers
