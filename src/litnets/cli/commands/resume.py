"""`litnets resume`: continue an interrupted run in its folder, from its last checkpoint.

litnets resume checkpoints/digits_mlp/<run>
litnets resume                                    the newest run
litnets resume digits_mlp --trainer.max_epochs 40   the newest run of an experiment, for longer
"""

from itertools import pairwise
from pathlib import Path

from litnets.cli.app import LitnetsCLI
from litnets.cli.main import run
from litnets.errors import InputError
from litnets.runs.find import find_run
from litnets.training.signals import Signals


def resume(args: list[str]) -> int:
    """Resume a run.

    Args:
        args: A run's folder, an experiment's folder or name (its newest run), or neither (the newest run of all), then
            options of `fit`.
    """
    return run(_resume, args)


def _resume(args: list[str], signals: Signals) -> None:
    if not {"-h", "--help"}.isdisjoint(args):
        LitnetsCLI(["fit", "--help"], signals)  # exits
    folder = args[0] if args and not args[0].startswith("-") else None
    options = args if folder is None else args[1:]
    parts = [part for option in options for part in (option.split("=", 1) if option.startswith("--") else [option])]
    if folder is None and "--config" in parts:
        raise InputError("resume: give the run's folder: `litnets resume RUN`; a --config may follow it")
    if "--split_again" in parts:
        raise InputError(
            "resume: --split_again would validate and test on training samples; `litnets fit --init_from "
            "RUN/last.ckpt` starts a new run, with a new split"
        )
    runs_dir = next((Path(value) for name, value in pairwise(parts) if name == "--runs_dir"), Path("checkpoints"))
    resumed = find_run(folder, runs_dir)
    LitnetsCLI(["fit", "--config", str(resumed.configs[-1]), *options], signals, resume=resumed)
