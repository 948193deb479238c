"""`litnets predict`: predict new inputs, or the test split of a run.

litnets predict digits_cnn photo.png folder --output predictions.csv
cat texts.txt | litnets predict reviews -
litnets predict checkpoints/digits_mlp/<run>                 the test split, into predictions.csv in the run folder
litnets predict digits_mlp --data.predict_path new_images    new data, into the same file
"""

import argparse
import sys
from contextlib import ExitStack, closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from litnets.analysis.predictor import Predictor
from litnets.cli.command_parser import CommandParser, asks_for_help
from litnets.cli.commands.trainer import use_run
from litnets.cli.main import run as run_command
from litnets.cli.new_inputs import InputCounts, check_inputs, check_not_replaced, iter_chunks, read_chunks
from litnets.cli.prediction_output import STANDARD_OUTPUT, Writer, check_destination, mask_table, open_output
from litnets.cli.preflight import check_mask_folder, check_output
from litnets.cli.run_argument import add_run_options, find_device, parse_run_argument, report_run
from litnets.cli.spinner import spinner
from litnets.data.core.listing import names_in
from litnets.data.core.sample_columns import Columns
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.escaping import printable
from litnets.tasks import Segmenter
from litnets.training.mask_writer import MaskFolder, unique_stems
from litnets.training.predictions import prediction_columns
from litnets.training.signals import Signals

HELP = """\
usage: litnets predict RUN INPUT... [--output FILE] [--overwrite] [--strict]
                       [--batch_size N] [--device DEVICE] [--ckpt_path FILE] [--runs_dir DIR] [--trust MODULE]

Predict new inputs with the network of a run. INPUT is a file or a folder, as in training but without targets: images,
recordings, texts, rows of a table (CSV or Parquet), or a series (CSV), whose next steps are forecast. The INPUT -
stands for standard input, with one text per line.

  --output FILE      .csv, .jsonl or .parquet; - (the default) prints CSV
                     for masks, a folder, with a table of the same name next to it (default: predictions in the run)
  --overwrite        replace FILE if it exists
  --strict           stop at the first broken input; by default it is reported and skipped, and the exit code is 1
  --batch_size N     inputs, or tiles of images, per batch (default: data.eval_batch_size of the run)
  --device DEVICE    such as cpu or cuda:0 (default: the GPU if there is one)
  --ckpt_path FILE   best (the default), last, or a checkpoint file
  --runs_dir DIR     folder of the experiments
  --trust MODULE     a module that the run may import; may be repeated

Without an INPUT, `litnets predict RUN` predicts the test split, or new data with --data.predict_path NEW, and writes
predictions.csv in the run folder. `litnets predict RUN --help` lists the options for this.
"""

_COUNT = "{task.completed:,.0f} predictions"
_FLAGS = ("--overwrite", "--strict", "--debug", "--print_config", "--help", "-h")


def predict(args: list[str]) -> int:
    """Predict new inputs, or the test split.

    Args:
        args: A run, inputs and options.
    """
    inputs, options = split_inputs(args[1:])
    if asks_for_help(args[:1]) or (inputs and not args[0].startswith("-") and asks_for_help(options)):
        print(HELP, end="")
        return 0
    if not inputs or args[0].startswith("-"):
        return run_command(use_run, ["predict", *args])
    counts = InputCounts()
    return run_command(partial(_predict, inputs, counts), [args[0], *options]) or counts.exit_code


def split_inputs(args: list[str]) -> tuple[list[str], list[str]]:
    """Separate inputs, such as files, from options and their values. After `--`, all arguments are inputs."""
    inputs: list[str] = []
    options: list[str] = []
    expects_value = False
    for index, arg in enumerate(args):
        if arg == "--":
            inputs += args[index + 1 :]
            break
        is_option = arg.startswith("-") and arg != "-" and not expects_value
        (options if is_option or expects_value else inputs).append(arg)
        expects_value = is_option and "=" not in arg and arg not in _FLAGS
    return inputs, options


class _Parser(CommandParser):
    def error(self, message: str) -> NoReturn:
        hint = "other options belong to `predict RUN --data.predict_path NEW`" if "unrecognized" in message else ""
        raise InputError(f"predict RUN INPUT: {message}{'; ' if hint else ''}{hint} (see `litnets predict --help`)")


def _parser() -> _Parser:
    parser = _Parser("predict", add_help=False)
    parser.add_argument("--output")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--device")
    add_run_options(parser)
    return parser


def _predict(inputs: list[str], counts: InputCounts, args: list[str], signals: Signals) -> None:
    """Predict inputs with the run that the first argument names."""
    options = _parser().parse_args(args[1:])
    check_inputs("predict", inputs)
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch_size: expected at least 1, got {options.batch_size}")
    counts.strict = options.strict
    argument = parse_run_argument(args)
    assert argument.run is not None
    report_run(args[0], argument.run)
    checkpoint = argument.choose_checkpoint(options.ckpt_path)
    predictor = Predictor.load(argument.run, checkpoint, device=find_device(options.device), trust=options.trust)
    options.batch_size = options.batch_size or predictor.datamodule.eval_batch_size
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):  # notes on the inputs must not mix with the predictions
        if isinstance(predictor.network, Segmenter):
            message = _write_masks(predictor, argument.run, inputs, counts, options)
        else:
            message = _write_rows(predictor, inputs, counts, options, stdout)
    if message:
        print(message)


def _write_rows(
    predictor: Predictor, inputs: list[str], counts: InputCounts, options: argparse.Namespace, stdout: TextIO
) -> str:
    """Write a table with a row for each sample, or for each step of a forecast; return what to print at the end."""
    output = STANDARD_OUTPUT if options.output is None else options.output
    check_destination(output, options.overwrite)
    if output != STANDARD_OUTPUT:
        check_not_replaced(inputs, Path(output))
    chunks = iter_chunks(inputs, predictor.datamodule, options.batch_size, counts)
    with ExitStack() as stack:
        show = stack.enter_context(spinner(_COUNT, hide=output == STANDARD_OUTPUT and stdout.isatty()))
        writer: Writer | None = None
        for samples, columns in stack.enter_context(closing(read_chunks(chunks, counts, ahead="-" not in inputs))):
            outputs = predictor.predict_samples(samples, options.batch_size)
            if writer is None:
                writer = stack.enter_context(open_output(output, stdout))
            writer.write(_rows(predictor, outputs, columns, counts.predicted))
            counts.predicted += len(samples)
            show(counts.predicted)
    return "" if output == STANDARD_OUTPUT or writer is None else printable(f"predictions: {output}")


def _write_masks(
    predictor: Predictor, run: Run, inputs: list[str], counts: InputCounts, options: argparse.Namespace
) -> str:
    """Write a mask and an overlay for each image, and a table with a row for each image; return what to print."""
    path = run.predictions if options.output is None else mask_table(options.output)
    check_output(path, options.overwrite)
    if options.output is None:
        run.lock()
    else:
        check_mask_folder(path, options.overwrite)
    check_not_replaced(inputs, path.with_suffix(""))
    files = MaskFolder(path, predictor.classes or ())
    chunks = list(iter_chunks(inputs, predictor.datamodule, options.batch_size, counts))
    sources = [name for chunk in chunks for name in chunk.names]
    shown = names_in(Path(inputs[0]), list(map(Path, sources))) if len(inputs) == 1 else sources
    names = dict(zip(sources, shown, strict=True))  # the name of each file in the table
    stems = dict(zip(names, unique_stems(list(names.values())), strict=True))
    rows: dict[int, list[Any]] = {}
    with closing(read_chunks(chunks, counts)) as named_samples, spinner(_COUNT) as show:
        tiles = (samples for samples, _ in named_samples)
        for images, stitched in predictor.predict_masks(tiles, options.batch_size):
            file = images.names[stitched.index]
            rows[counts.predicted] = files.write(names[file], stems[file], images.image(stitched.index), stitched)
            counts.predicted += 1
            show(counts.predicted)
    if not rows:
        return ""
    files.write_tables(rows)
    return printable(f"predictions: {path}\nmasks and overlays: {files.folder}", lines=True)


def _rows(predictor: Predictor, outputs: Any, columns: Columns, start: int) -> Any:
    """Return the columns to write for a chunk whose first sample has the index `start`."""
    size = len(next(iter(outputs.values())))
    names = [getattr(predictor.network, name, None) for name in ("class_names", "target_names", "channel_names")]
    rows = prediction_columns([(list(range(size)), outputs)], *names, samples=columns)
    return {**rows, "index": [index + start for index in rows["index"]]}
