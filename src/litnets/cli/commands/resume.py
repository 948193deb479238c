"""`litnets resume`: continue an interrupted run."""

from itertools import pairwise
from pathlib import Path

from litnets.cli.app import LitnetsCLI
from litnets.errors import InputError
from litnets.runs.find import find_run
from litnets.training.signals import Signals


def resume(args: list[str], signals: Signals) -> None:
    """`litnets resume [RUN] [options]`: go on with a run, in its folder, from its last checkpoint.

    Args:
        args: A run's folder, an experiment's (its newest run) or nothing (the newest of all), then options of `fit`.
        signals: Who listens to signals.
    """
    if not {"-h", "--help"}.isdisjoint(args):
        LitnetsCLI(["fit", "--help"], signals)  # which ends here
    where = args[0] if args and not args[0].startswith("-") else None
    options = args if where is None else args[1:]
    parts = [part for option in options for part in (option.split("=", 1) if option.startswith("--") else [option])]
    if where is None and "--config" in parts:
        raise InputError("resume: give the run's folder: `litnets resume RUN`; a --config may follow it")
    runs_dir = next((Path(value) for name, value in pairwise(parts) if name == "--runs_dir"), Path("checkpoints"))
    found = find_run(where, runs_dir)
    LitnetsCLI(["fit", "--config", str(found.configs[-1]), *options], signals, resume=found)
