"""`litnets lr`: find a learning rate, or a batch size, without training a run.

litnets lr --config configs/digits_mlp.yaml
litnets lr --config configs/digits_mlp.yaml --batch_size
"""

import argparse
import gc
import io
import math
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from litnets.cli.build import BuildCLI
from litnets.cli.in_process import restored_process_state
from litnets.cli.main import run
from litnets.cli.parsed_fit import ParsedFit
from litnets.cli.several_runs import Parser
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.storage import write_json, write_text
from litnets.safety.escaping import printable
from litnets.training.signals import Signals
from litnets.tuning.batch_size import (
    Measurement,
    TimeSteps,
    fastest,
    memory_limit,
    next_may_fit,
    peak_memory,
    sizes_up_to,
)
from litnets.tuning.learning_rate import Curve, RaiseLearningRate, Suggestion, to_csv
from litnets.tuning.pictures import NOTE, draw_learning_rates

_DESCRIPTION = """\
Find a learning rate: train a new network for a hundred steps with a rising learning rate, and record the loss. The
suggestion is a tenth of the learning rate with the lowest loss. Three seeds show how reliable it is.

With --batch_size, find the largest batch size that fits into memory, and the fastest. No run is started or changed;
the curve is written to checkpoints/<experiment>/lr_<time>."""


def lr(args: list[str]) -> int:
    """Suggest a learning rate, or print a table of batch sizes, and return the exit code.

    Args:
        args: Options of the command and of `fit`.
    """
    parser = Parser("lr", _DESCRIPTION, has_jobs=False)
    parser.add_argument("--batch_size", action="store_true", help="try batch sizes instead")
    parser.add_argument("--low", type=float, default=1e-6, metavar="LR", help="first learning rate; default: 1e-6")
    parser.add_argument("--high", type=float, default=1.0, metavar="LR", help="last learning rate; default: 1")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="number of steps; default: 100")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds; default: 3")
    options, fit_args = parser.split(args)
    if not 0 < options.low < options.high < math.inf:
        raise InputError(f"lr: expected 0 < --low < --high < inf, got {options.low:g} and {options.high:g}")
    for name, minimum in (("steps", 10), ("seeds", 1)):
        if (value := getattr(options, name)) < minimum:
            raise InputError(f"lr: --{name}: expected at least {minimum}, got {value}")
    return run(_try_batch_sizes if options.batch_size else partial(_test_range, options=options), fit_args)


def _test_range(args: list[str], signals: Signals, *, options: argparse.Namespace) -> None:
    parsed = ParsedFit("lr", args, signals).options
    first = int(parsed.seed_everything or 0)
    seeds = range(first, first + options.seeds)
    curves = []
    for seed in seeds:
        with redirect_stdout(sys.stdout if seed == first else io.StringIO()):  # print notes on the data only once
            curves.append(sweep(args, seed, options.low, options.high, options.steps))
    suggestion = Suggestion.of(curves)
    folder = Run.new(Path(parsed.runs_dir), parsed.experiment, prefix="lr_").folder
    write_text(folder / "lr.csv", to_csv(curves))
    files = ["lr.csv", "lr.json"]
    if draw_learning_rates(folder / "lr.svg", curves, suggestion):
        files.append("lr.svg")
    else:
        print(NOTE)
    suggestions = {str(curve.seed): curve.suggestion for curve in curves}
    write_json(
        folder / "lr.json", {"suggestion": suggestion.rate, "seeds": suggestions, "verdict": suggestion.describe()}
    )
    print(suggestion.describe())
    print(printable(f"results: {folder / files[0]}, {', '.join(files[1:])}"))


def sweep(options: list[str], seed: int, low: float, high: float, steps: int) -> Curve:
    """Return the losses of a new network while the learning rate rises.

    Args:
        options: Options of `fit`.
        seed: The seed.
        low: The first learning rate.
        high: The last learning rate.
        steps: Number of steps.

    Raises:
        InputError: An option is wrong, or the first loss is not finite.
    """
    test = RaiseLearningRate(low, high, steps)
    _fit([*options, f"--seed_everything={seed}"], test, max_steps=steps)
    if not test.losses:
        raise InputError("lr: the training split has no batch")
    if not math.isfinite(test.losses[0]):
        raise InputError(f"lr: the loss of the first step is {test.losses[0]:g}; look for NaN or infinity in the data")
    return Curve(seed, test.rates[: len(test.losses)], test.losses)


def _fit(options: list[str], callback: Any, **trainer: Any) -> None:
    """Train a new network without validation, with one callback."""
    limits = {"max_epochs": -1, "limit_val_batches": 0, "num_sanity_val_steps": 0, "max_time": None}
    with restored_process_state():
        cli = BuildCLI(options, callbacks=[callback], **limits, **trainer)
        cli.trainer.fit(cli.model, cli.datamodule)


def _try_batch_sizes(args: list[str], signals: Signals) -> None:
    parsed = ParsedFit("lr", args, signals)
    if not parsed.data_takes("batch_size"):
        raise InputError(f"lr --batch_size: {parsed.data_class.__name__} has no option batch_size")
    with restored_process_state():
        datamodule: Any = BuildCLI(args).datamodule
        datamodule.ensure_setup()
        samples = len(datamodule.splits["train"])
    if not list(sizes_up_to(samples)):
        raise InputError(f"lr --batch_size: there are only {samples} training samples")
    limit = memory_limit()
    measured: list[Measurement] = []
    for size in sizes_up_to(samples):
        if not next_may_fit(measured, limit):
            measured.append(Measurement(size, None, 0))
            break
        measured.append(measure(args, size))
        if measured[-1].speed is None:
            break
    _print_batch_sizes(measured, limit, samples)


def measure(options: list[str], size: int) -> Measurement:
    """Return the speed and the peak memory of a batch size. On a GPU, it may turn out not to fit."""
    timing = TimeSteps()
    gc.collect()  # a Trainer and its model refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        _fit([*options, f"--data.batch_size={size}"], timing, max_steps=1_000_000)
    except torch.OutOfMemoryError:
        return Measurement(size, None, peak_memory())
    return Measurement(size, timing.samples / timing.seconds, peak_memory())


def _print_batch_sizes(measured: list[Measurement], limit: int, samples: int) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("batch size", "samples/s", "peak memory"):
        table.add_column(name, justify="right")
    for one in measured:
        speed = "does not fit" if one.speed is None else f"{one.speed:,.0f}"
        table.add_row(str(one.size), speed, f"{one.memory / 2**20:,.0f} MiB" if one.memory else "")
    Console(markup=False, emoji=False, highlight=False).print(table)
    fitting = [one for one in measured if one.speed is not None]
    if not fitting:
        raise InputError(f"lr --batch_size: not even {measured[0].size} samples fit into memory; use a smaller network")
    memory = "memory of the GPU" if torch.cuda.is_available() else "half of the machine's memory"
    reason = (
        f"all {samples} training samples" if len(fitting) == len(measured) else f"{limit / 2**30:.1f} GiB, {memory}"
    )
    print(f"largest that fits: {fitting[-1].size} ({reason})")
    print(f"fastest: {fastest(measured).size}; smaller batches make more steps per epoch, and often generalize better")
