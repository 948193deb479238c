"""`litnets explain`: show what a network bases its answers on.

litnets explain digits_cnn                          a few samples of the test split
litnets explain digits_cnn photo.png --method occlusion
litnets explain reviews "not a good film" --target negative
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.analysis.explain.attribution import import_captum
from litnets.analysis.explain.explain import ALL_METHODS, Labeled, Options
from litnets.analysis.explain.explain import explain as write_explanation
from litnets.analysis.explain.explanation import Explanation
from litnets.analysis.explain.inputs import Example
from litnets.analysis.explain.samples import examples_of_test_split, read_examples, stored_examples
from litnets.analysis.load_run import read_split
from litnets.analysis.predictor import Predictor
from litnets.cli.command_parser import CommandParser, asks_for_help
from litnets.cli.commands.predict import split_inputs
from litnets.cli.main import run
from litnets.cli.new_inputs import check_inputs
from litnets.cli.run_argument import add_run_options, find_device, parse_run_argument
from litnets.cli.spinner import spinner
from litnets.errors import InputError, did_you_mean
from litnets.runs.folder import Run
from litnets.runs.storage import not_written
from litnets.safety.escaping import printable
from litnets.safety.files import replacing_folder
from litnets.training.signals import Signals

HELP = """\
usage: litnets explain RUN [INPUT...] [--method NAME]... [--target NAME] [--step N] [--samples N] [--repeats N]
                       [--device DEVICE] [--ckpt_path FILE] [--runs_dir DIR] [--trust MODULE]

Explain the answers of the network of a run. INPUT is a file, a folder or a text; without it, the command explains a few
samples of the test split. Pictures and tables are written into RUN/explain/, and replace those of an earlier
explanation. Each map is checked, and marked if it must not be trusted.
Needs the extra `explain`: pip install -e ".[explain]"

  --method NAME      may be repeated; by default, what fits the network and the data:
                       saliency              absolute gradient of the answer
                       integrated_gradients  what each part of the input adds to the answer
                       grad_cam              where the last convolution finds evidence for the answer
                       occlusion             how much the answer falls when a part of the input is hidden
                       permutation           how much the score falls when a column of a table is shuffled
                       filters               weights of the first layer
                       units                 the hidden unit that separates each class best
  --target NAME      class, target or channel to explain (default: the predicted class, or the first target or channel)
  --step N           step of a forecast to explain, from 1 (default: 1)
  --samples N        number of inputs to explain (default: 8)
  --repeats N        number of times that permutation shuffles each column (default: 10)
  --device DEVICE    such as cpu or cuda:0 (default: the GPU if there is one)
  --ckpt_path FILE   best (the default), last, or a checkpoint file
  --runs_dir DIR     folder of the experiments
  --trust MODULE     a module that the run may import; may be repeated
"""


def explain(args: list[str]) -> int:
    """Explain the answers of a network.

    Args:
        args: A run, inputs and options.
    """
    inputs, options = split_inputs(args[1:])
    if asks_for_help([*args[:1], *options]):
        print(HELP, end="")
        return 0
    return run(partial(_explain, inputs), [*args[:1], *options])


def _parser() -> CommandParser:
    parser = CommandParser("explain", add_help=False)
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--target")
    parser.add_argument("--step", type=int)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device")
    add_run_options(parser)
    return parser


def _check_methods(names: Sequence[str]) -> None:
    for name in names:
        if name not in ALL_METHODS:
            hint = did_you_mean(name, ALL_METHODS)
            raise InputError(f"--method: no method '{name}'{hint} (choose from: {', '.join(ALL_METHODS)})")


def _explain(inputs: list[str], args: list[str], signals: Signals) -> None:
    """Explain the run that the first argument names."""
    if not args or args[0].startswith("-"):
        raise InputError("explain: expected a run, such as `litnets explain checkpoints/digits_cnn/RUN`")
    options = _parser().parse_args(args[1:])
    _check_methods(options.method)
    for name, least in (("samples", 1), ("repeats", 2)):
        if getattr(options, name) < least:
            raise InputError(f"--{name}: expected at least {least}, got {getattr(options, name)}")
    check_inputs("explain", inputs)
    import_captum()
    argument = parse_run_argument(args)
    assert argument.run is not None
    checkpoint = argument.choose_checkpoint(options.ckpt_path)
    predictor = Predictor.load(argument.run, checkpoint, device=find_device(options.device), trust=options.trust)
    data = _Data(argument.run, predictor, inputs)
    examples = data.examples(options.samples)
    argument.run.lock()
    chosen = Options(list(dict.fromkeys(options.method)), options.target, options.step, options.repeats)
    folder = argument.run.explanation
    try:
        with spinner("explaining"), replacing_folder(folder) as part:
            explanation = Explanation(part)
            rows = write_explanation(predictor, examples, data.rows, data.test_split, explanation, chosen)
    except OSError as error:
        raise not_written(folder, error) from error
    _print(explanation, rows, folder)


class _Data:
    """The samples of an explanation: new inputs, or samples of the run. Its data are read only if they are needed."""

    def __init__(self, run: Run, predictor: Predictor, inputs: Sequence[str]) -> None:
        self.run, self.predictor, self.inputs = run, predictor, inputs

    def examples(self, limit: int) -> list[Example]:
        """Return the inputs to explain."""
        if self.inputs:
            return read_examples(self.predictor, self.inputs, limit)
        return stored_examples(self.predictor, self.run, limit) or examples_of_test_split(
            self.predictor, self.test_split().samples, limit
        )

    def rows(self) -> Labeled:
        """Return rows with targets: those of the only new input, or the test split."""
        if not self.inputs:
            return self.test_split()
        if len(self.inputs) > 1:
            raise InputError("pass one file of rows with their targets, or no INPUT for the test split")
        path, datamodule = Path(self.inputs[0]), self.predictor.datamodule
        datamodule.trained_classes = self.predictor.classes
        return Labeled(datamodule.load_labeled(path), path.name)

    def test_split(self) -> Labeled:
        """Return the test split of the run."""
        return Labeled(read_split(self.predictor.datamodule, self.run, "test"), "the test split")


def _print(explanation: Explanation, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print a line for each method, and what was left out."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("method", "passed", "completeness\nerror", "correlation with\nrandom weights"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for entry in explanation.entries:
        maps = [row for row in rows if row["method"] == entry.method]
        errors = [row["completeness_error"] for row in maps if row["completeness_error"] is not None]
        correlation = f"{median(row['random_correlation'] for row in maps):.2f}" if maps else ""
        table.add_row(entry.method, entry.count, f"{max(errors):.2%}" if errors else "", correlation)
    Console(markup=False, emoji=False, highlight=False).print(table)
    for row in rows:
        if not row["passed"]:
            print(printable(f"do not trust: {row['method']} of {row['input']}: {row['failures']}"))
    for entry in explanation.entries:
        if entry.check and not any(row["method"] == entry.method for row in rows):
            print(printable(f"{entry.method}: {entry.check}"))
    for note in explanation.notes:
        print(printable(note))
    print(printable(f"explanation: {folder}"))
