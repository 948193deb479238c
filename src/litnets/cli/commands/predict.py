"""`litnets predict`: predict new inputs, or the test split of a run.

litnets predict digits_cnn photo.png folder --output predictions.csv
cat texts.txt | litnets predict reviews -
litnets predict checkpoints/digits_mlp/<run>                 the test split, into predictions.csv in the run folder
litnets predict digits_mlp --data.predict_path new_images    new data, into the same file
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from litnets.analysis.predictor import Predictor
from litnets.cli.commands.trainer import use_run
from litnets.cli.main import run
from litnets.cli.prediction_output import STANDARD_OUTPUT, Writer, check_destination, open_output
from litnets.cli.run_argument import RunArgument, parse_run_argument
from litnets.data.core.listing import check_name
from litnets.data.core.new_chunks import NamedSamples
from litnets.data.core.sample_columns import Columns
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.escaping import printable
from litnets.tasks import Segmenter
from litnets.training.predictions import prediction_columns
from litnets.training.signals import Signals

HELP = """\
usage: litnets predict RUN INPUT... [--output FILE] [--overwrite] [--strict]
                       [--batch_size N] [--device DEVICE] [--ckpt_path FILE] [--runs_dir DIR] [--trust MODULE]

Predict new inputs with the network of a run. INPUT is a file or a folder, as in training but without targets: images,
recordings, texts, CSV or Parquet files of rows, CSV files of series, whose next steps are forecast; or - for one text
per line of standard input.

  --output FILE      .csv, .jsonl or .parquet; - (the default) prints CSV
  --overwrite        replace FILE if it exists
  --strict           stop at the first broken input; by default it is reported and skipped, and the exit code is 1
  --batch_size N     inputs per batch (default: data.eval_batch_size of the run)
  --device DEVICE    such as cpu or cuda:0 (default: the GPU if there is one)
  --ckpt_path FILE   best (the default), last, or a checkpoint file
  --runs_dir DIR     folder of the experiments
  --trust MODULE     a module that the run may import; may be repeated

Without an INPUT, `litnets predict RUN` predicts the test split, or new data with --data.predict_path NEW, and writes
predictions.csv in the run folder. `litnets predict RUN --help` lists the options for this.
"""

_FLAGS = ("--overwrite", "--strict", "--debug", "--print_config", "--help", "-h")
_MAX_BROKEN = 1000  # inputs


def predict(args: list[str]) -> int:
    """Predict new inputs, or the test split.

    Args:
        args: A run, inputs and options.
    """
    if args[:1] in (["-h"], ["--help"]):
        print(HELP, end="")
        return 0
    inputs, options = split_inputs(args[1:])
    if not inputs or args[0].startswith("-"):
        return run(use_run, ["predict", *args])
    counts = _Counts()
    return run(partial(_predict, inputs, counts), [args[0], *options]) or counts.exit_code


def split_inputs(args: list[str]) -> tuple[list[str], list[str]]:
    """Separate inputs, such as files, from options and their values."""
    inputs: list[str] = []
    options: list[str] = []
    expects_value = False
    for arg in args:
        is_option = arg.startswith("-") and arg != "-" and not expects_value
        (options if is_option or expects_value else inputs).append(arg)
        expects_value = is_option and "=" not in arg and arg not in _FLAGS
    return inputs, options


class _Counts:
    """The number of predicted and of broken inputs."""

    def __init__(self) -> None:
        self.predicted = 0
        self.broken = 0

    @property
    def exit_code(self) -> int:
        """0 without broken inputs, 1 if some were predicted, 2 if none was."""
        if not self.broken:
            return 0
        return 1 if self.predicted else 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = "other options belong to `predict RUN --data.predict_path NEW`" if "unrecognized" in message else ""
        raise InputError(f"predict RUN INPUT: {message}{'; ' if hint else ''}{hint} (see `litnets predict --help`)")


def _parser() -> _Parser:
    parser = _Parser(prog="litnets predict", add_help=False, allow_abbrev=False)
    parser.add_argument("--output", default=STANDARD_OUTPUT)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--device")
    parser.add_argument("--ckpt_path", default="best")
    parser.add_argument("--runs_dir")
    parser.add_argument("--trust", action="append", default=[])
    return parser


def _predict(inputs: list[str], counts: _Counts, args: list[str], signals: Signals) -> None:
    """Predict inputs with the run that the first argument names."""
    options = _parser().parse_args(args[1:])
    _check_inputs(inputs)
    check_destination(options.output, options.overwrite)
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch_size: expected at least 1, got {options.batch_size}")
    argument = parse_run_argument(args)
    assert argument.run is not None
    checkpoint = _checkpoint(argument, argument.run, options.ckpt_path)
    predictor = Predictor.load(argument.run, checkpoint, device=_device(options.device), trust=options.trust)
    if isinstance(predictor.network, Segmenter):
        new = "FOLDER" if len(inputs) > 1 else inputs[0]
        raise InputError(
            f"predict RUN INPUT prints a table; for masks: litnets predict {args[0]} --data.predict_path {new}"
        )
    batch_size = options.batch_size or predictor.datamodule.eval_batch_size
    with ExitStack() as stack:
        progress = stack.enter_context(_progress())
        task = progress.add_task("", total=None)
        writer: Writer | None = None
        for source in inputs:
            for samples, columns in _samples(source, predictor, batch_size, options.strict, counts):
                outputs = predictor.predict_samples(samples, batch_size)
                if writer is None:
                    writer = stack.enter_context(open_output(options.output))
                if len(inputs) > 1 and "file" not in columns:
                    columns = {"file": [source] * len(samples), **columns}
                writer.write(_rows(predictor, outputs, columns, counts.predicted))
                counts.predicted += len(samples)
                progress.update(task, completed=counts.predicted)
    if options.output != STANDARD_OUTPUT and writer is not None:
        print(printable(f"predictions: {options.output}"))


def _check_inputs(inputs: list[str]) -> None:
    for source in inputs:
        if not source:
            raise InputError("predict RUN INPUT: an INPUT is empty; `.` is the current folder")
        check_name(Path(source))


def _checkpoint(argument: RunArgument, run: Run, ckpt_path: str) -> Path | None:
    if argument.checkpoint is not None or ckpt_path == "best":
        return argument.checkpoint
    return run.last if ckpt_path == "last" else Path(ckpt_path)


def _device(name: str | None) -> Any:
    import torch

    if name is None:
        return None
    try:
        probe = torch.zeros(1, device=name)
        probe.cpu()  # fails on the device meta, which holds no numbers
        return probe.device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise InputError(f"--device {name}: {str(error).splitlines()[0]}") from error


def _progress() -> Progress:
    """Return a progress bar on standard error, if that is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} predictions"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


def _samples(
    source: str, predictor: Predictor, batch_size: int, strict: bool, counts: _Counts
) -> Iterator[NamedSamples]:
    """Yield the readable samples of a source in chunks, and report its broken inputs."""
    datamodule = predictor.datamodule
    if source == "-":
        chunks = datamodule.iter_lines(_standard_input(), batch_size)
    else:
        chunks = datamodule.iter_new(Path(source), batch_size)
    while True:
        samples: NamedSamples | None = None
        with redirect_stdout(sys.stderr):  # notes on the inputs must not mix with the predictions
            try:
                chunk = next(chunks, None)
                samples, errors = (None, []) if chunk is None else chunk.load()
            except InputError as error:  # the source itself cannot be read
                chunk, errors = None, [error]
        for broken in errors:
            counts.broken += 1
            if strict:
                raise broken
            print(f"litnets: {printable(str(broken), lines=True)}", file=sys.stderr)
            if counts.broken == _MAX_BROKEN:
                raise InputError(f"stopped after {counts.broken} broken inputs")
        if samples is not None:
            yield samples
        if chunk is None:
            return


def _standard_input() -> Iterator[str]:
    """Yield the lines of standard input."""
    is_empty = True
    for number, line in enumerate(sys.stdin.buffer, 1):
        is_empty = False
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"standard input, line {number}: not UTF-8") from error
    if is_empty:
        raise InputError("standard input is empty; expected one text per line")


def _rows(predictor: Predictor, outputs: Any, columns: Columns, start: int) -> Any:
    """Return the columns to write for a chunk whose first sample has the index `start`."""
    size = len(next(iter(outputs.values())))
    names = [getattr(predictor.network, name, None) for name in ("class_names", "target_names", "channel_names")]
    rows = prediction_columns([(list(range(size)), outputs)], *names, samples=columns)
    return {**rows, "index": [index + start for index in rows["index"]]}
