"""`litnets export`: write a trained network into a file that needs neither litnets nor, for ONNX, PyTorch.

litnets export digits_cnn
litnets export checkpoints/digits_cnn/<run> --format pt2 --output exported
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from litnets.cli.command_parser import CommandParser
from litnets.cli.main import run
from litnets.cli.run_argument import add_run_options, parse_run_argument, report_run
from litnets.deploy.certificate import Certificate
from litnets.deploy.formats import check_packages
from litnets.safety.escaping import printable
from litnets.training.signals import Signals

_DESCRIPTION = """\
Write the network of a run and the preparation of its inputs into one file. It takes raw inputs, and returns
probabilities or values in the units of the data. It is compared with the network on the test split before it is kept.

RUN is a run folder, an experiment (its newest run), or a checkpoint in a run folder. The folder `export` of the run
then holds the network, certificate.json, golden.npz and, for ONNX, run.py, which predicts files with numpy and
onnxruntime alone."""


def export(args: list[str]) -> int:
    """Export a network and return the exit code.

    Args:
        args: A run and options.
    """
    parser = CommandParser("export", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="run folder, experiment or checkpoint")
    parser.add_argument("--format", choices=("onnx", "pt2"), default="onnx", help="onnx, or pt2 for torch.export.load")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (default: `export` in the run)")
    add_run_options(parser)
    if args[:1] in (["-h"], ["--help"]):
        parser.print_help()
        return 0
    return run(partial(_export, parser), args)


def _export(parser: argparse.ArgumentParser, args: list[str], signals: Signals) -> None:
    options = parser.parse_args(args)
    check_packages(options.format)
    argument = parse_run_argument([options.run, "--runs_dir", options.runs_dir])
    assert argument.run is not None
    if options.output is not None:  # otherwise the paths printed at the end name the run
        report_run(options.run, argument.run)
    from litnets.analysis.predictor import Predictor
    from litnets.deploy.export import export_network

    checkpoint = argument.choose_checkpoint(options.ckpt_path)
    predictor = Predictor.load(argument.run, checkpoint, device="cpu", trust=options.trust)
    argument.run.lock()
    exported = export_network(predictor, options.format, options.output)
    _print_certificate(exported.certificate, options.format)
    print(printable(f"exported: {exported.file} ({exported.certificate.megabytes:.2f} MB)"))
    if options.format == "onnx":
        print(printable(f"predict without PyTorch: python {exported.folder / 'run.py'} FILE..."))


def _print_certificate(certificate: Certificate, format: str) -> None:
    """Print how the predictions of the export compare with those of the network, and how long both take."""
    print(printable(f"compared with the network on {certificate.samples:,} samples of {certificate.checked_on}:"))
    print(
        f"  largest difference {certificate.largest_difference:.1e} (at most {certificate.tolerance:.0e} is accepted)"
    )
    if certificate.decisions:
        ties = f", {certificate.ties} of them ties up to rounding" if certificate.ties else ""
        print(f"  {certificate.flips + certificate.ties} of {certificate.decisions:,} decisions differ{ties}")
    if certificate.metric is not None:
        values = f"{certificate.network_metric:.4f} for the network, {certificate.exported_metric:.4f} exported"
        recorded = certificate.recorded_metric
        precision = "" if certificate.recorded_precision == "32-true" else f", in {certificate.recorded_precision},"
        tested = "" if recorded is None else f"; the test of the run{precision} had {recorded:.4f}"
        print(f"  {certificate.metric} {values}{tested}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("batch", "PyTorch ms", f"{format} ms", "times as fast"):
        table.add_column(name, justify="right")
    for timing in certificate.timings:
        length = "" if timing.length is None else f" x {timing.length}"
        cells: list[Any] = [f"{timing.batch}{length}", f"{timing.network:.3f}", f"{timing.exported:.3f}", timing.ratio]
        table.add_row(*map(str, cells))
    Console(markup=False, emoji=False, highlight=False).print(table)
    print(f"({certificate.threads} threads)" if certificate.threads > 1 else "(one thread)")
