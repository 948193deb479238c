"""`litnets resume`: continue an interrupted run in its folder, from its last checkpoint.

litnets resume checkpoints/digits_mlp/<run>
litnets resume                                    the newest run
litnets resume digits_mlp --trainer.max_epochs 40   the newest run of an experiment, for longer
"""

from litnets.cli.app import LitnetsCLI
from litnets.cli.main import run
from litnets.cli.run_argument import parse_run_argument, runs_dir_of, split_options
from litnets.errors import InputError
from litnets.runs.find import find_run
from litnets.training.signals import Signals


def resume(args: list[str]) -> int:
    """Resume a run.

    Args:
        args: A run folder, an experiment (its newest run), the last checkpoint of a run, or nothing (the newest run of
            all), then options of `fit`.
    """
    return run(_resume, args)


def _resume(args: list[str], signals: Signals) -> None:
    if not {"-h", "--help"}.isdisjoint(args):
        LitnetsCLI(["fit", "--help"], signals)  # exits
    argument = parse_run_argument(args)
    parts = split_options(argument.options)
    if argument.run is None and "--config" in parts:
        raise InputError("resume: give the run's folder: `litnets resume RUN`; a --config may follow it")
    if "--split_again" in parts:
        raise InputError(
            "resume: --split_again would validate and test on training samples; `litnets fit --init_from "
            "RUN/last.ckpt` starts a new run, with a new split"
        )
    if argument.run is None:
        argument = argument._replace(run=find_run(None, runs_dir_of(args)))
    LitnetsCLI(["fit", *argument.selection, *argument.options], signals, resume=argument.run)
