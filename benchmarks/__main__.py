"""`python -m benchmarks [--only NAME,NAME]`: print a table and write it as JSON."""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch

from benchmarks.epoch import measure_epoch
from benchmarks.export import measure_export
from benchmarks.images import prepare_mnist
from benchmarks.jobs import measure_jobs
from benchmarks.lengths import measure_lengths
from benchmarks.loader import measure_growth, measure_loader
from benchmarks.prediction import measure_prediction
from benchmarks.processes import measure_memory, measure_processes, measure_start
from benchmarks.result import Result, Settings
from benchmarks.training import measure_step
from litnets.cli.main import silence_lightning
from litnets.runs.environment import environment

BENCHMARKS: dict[str, Callable[[Settings], list[Result]]] = {
    "loader": measure_loader,
    "epoch": measure_epoch,
    "step": measure_step,
    "growth": measure_growth,
    "memory": measure_memory,
    "start": measure_start,
    "lengths": measure_lengths,
    "processes": measure_processes,
    "jobs": measure_jobs,
    "predict": measure_prediction,
    "export": measure_export,
}


def main(args: list[str] | None = None) -> int:
    """Run the benchmarks, print a table and write it as JSON; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure speed and memory as ratios: medians over interleaved rounds."
    )
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="benchmarks to run (%(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder with MNIST (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per benchmark (%(default)s)")
    parser.add_argument("--largest", type=int, default=6_000_000, help="images in the largest data set (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"), help="output file (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only check that the benchmarks run")
    options = parser.parse_args(args)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"--only: no benchmark {', '.join(unknown)} (choose from: {', '.join(BENCHMARKS)})")
    silence_lightning()
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="litnets-benchmarks-") as folder:
        work = Path(folder)
        rounds, largest = (1, 1200) if options.quick else (options.rounds, options.largest)
        settings = Settings(work / "data", work, rounds, largest, options.quick)
        is_mnist = prepare_mnist(options.data_dir, settings.data, (1200, 200) if options.quick else (60_000, 10_000))
        with redirect_stdout(sys.stderr):  # training output must not mix with the table
            for name in names:
                print(f"measuring: {name}", flush=True)
                results += BENCHMARKS[name](settings)
    images = "MNIST" if is_mnist else f"synthetic images of MNIST's size (no MNIST in {options.data_dir})"
    print(table(results), f"medians of {rounds} rounds, {torch.get_num_threads()} threads, {images}", sep="\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "results": [
            {
                "name": result.name,
                "target": result.target,
                "bound": result.bound,
                "median": result.median,
                "target_met": result.target_met,
                "rounds": list(result.ratios),
            }
            for result in results
        ],
        "images": images,
        "environment": environment(None),
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def table(results: list[Result]) -> str:
    """Return a table of name, target and median; an exclamation mark flags a missed target."""
    width = max(len(result.name) for result in results)
    lines = [f"{'benchmark':{width}}  {'target':>8}  {'median':>7}"]
    for result in results:
        sign = ">=" if result.bound == "lower" else "<="
        target = "" if result.target is None else f"{sign} {result.target:.4g}"
        mark = "  !" if result.target_met is False else ""
        lines.append(f"{result.name:{width}}  {target:>8}  {result.median:>7.3g}{mark}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
