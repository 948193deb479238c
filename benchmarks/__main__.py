"""`python -m benchmarks [--only NAME,NAME]`: one table, and the same as JSON."""

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
from benchmarks.figure import Figure, Settings
from benchmarks.lengths import measure_lengths
from benchmarks.loader import measure_growth, measure_loader
from benchmarks.pictures import provide
from benchmarks.processes import measure_memory, measure_processes, measure_start
from benchmarks.training import measure_step
from litnets.cli.main import silence_lightning
from litnets.runs.environment import environment

BENCHMARKS: dict[str, Callable[[Settings], list[Figure]]] = {
    "loader": measure_loader,
    "epoch": measure_epoch,
    "step": measure_step,
    "growth": measure_growth,
    "memory": measure_memory,
    "start": measure_start,
    "lengths": measure_lengths,
    "processes": measure_processes,
}


def main(args: list[str] | None = None) -> int:
    """Measure, print the table and write the JSON; `args` are those of the command line unless given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios, medians of interleaved rounds.")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="which of %(default)s")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of MNIST (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of a benchmark (%(default)s)")
    parser.add_argument("--largest", type=int, default=6_000_000, help="pictures in the largest set (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only try whether all of it runs")
    given = parser.parse_args(args)
    names = given.only.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"--only: no benchmark {', '.join(unknown)} (there are: {', '.join(BENCHMARKS)})")
    silence_lightning()
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="litnets-benchmarks-") as folder:
        work = Path(folder)
        rounds, largest = (1, 1200) if given.quick else (given.rounds, given.largest)
        settings = Settings(work / "data", work, rounds, largest, given.quick)
        real = provide(given.data_dir, settings.data, (1200, 200) if given.quick else (60_000, 10_000))
        with redirect_stdout(sys.stderr):  # what the trainings say
            for name in names:
                print(f"measuring: {name}", flush=True)
                figures += BENCHMARKS[name](settings)
    pictures = "MNIST" if real else f"synthetic pictures of MNIST's size, as {given.data_dir} has no MNIST"
    print(table(figures), f"medians of {rounds} rounds, {torch.get_num_threads()} threads, {pictures}", sep="\n")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "figures": [
            {
                "figure": figure.name,
                "asked": figure.asked,
                "sense": figure.sense,
                "found": figure.found,
                "reached": figure.reached,
                "rounds": list(figure.ratios),
            }
            for figure in figures
        ],
        "pictures": pictures,
        "environment": environment(None),
    }
    given.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def table(figures: list[Figure]) -> str:
    """Figure, asked, found; an exclamation mark where it falls short."""
    width = max(len(figure.name) for figure in figures)
    lines = [f"{'figure':{width}}  {'asked':>8}  {'found':>7}"]
    for figure in figures:
        sign = ">=" if figure.sense == "least" else "<="
        asked = "" if figure.asked is None else f"{sign} {figure.asked:.4g}"
        mark = "  !" if figure.reached is False else ""
        lines.append(f"{figure.name:{width}}  {asked:>8}  {figure.found:>7.3g}{mark}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
