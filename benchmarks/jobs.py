"""Measure the commands that train several runs: two jobs against one, and their overhead."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import run_python
from benchmarks.result import Result, Settings, divide

# What `litnets seeds` does, without jobs, table and ensemble.
_RUNS = """
import sys
from litnets.cli.in_process import run_command
for seed in range(42, 42 + int(sys.argv[1])):
    run_command(["fit", *sys.argv[2:], f"--seed_everything={seed}"])
"""


def measure_jobs(settings: Settings) -> list[Result]:
    """Compare `litnets seeds` with two jobs to one, and with one job to training the same runs directly."""
    seeds = str(settings.size(8, 2))
    epochs = ("--trainer.max_epochs", str(settings.size(300, 1)), "--early_stopping.patience", "1000")
    common = ("--config", "configs/digits_mlp.yaml", "--wandb.mode", "off", "--trainer.accelerator", "cpu", *epochs)

    def options() -> tuple[str, ...]:
        return (*common, "--figures", "false", "--runs_dir", str(settings.work / "jobs" / str(time.monotonic_ns())))

    def run_jobs(jobs: int) -> float:
        return run_python("-m", "litnets", "seeds", "--seeds", seeds, "--jobs", str(jobs), *options()).seconds

    alone, one, two = [], [], []
    with _one_thread():
        for _ in range(max(1, settings.rounds // 9)):  # a round takes five minutes
            alone.append(run_python("-c", _RUNS, seeds, *options()).seconds)
            one.append(run_jobs(1))
            two.append(run_jobs(2))
    return [
        Result("jobs: runs per hour of two jobs against one", divide(one, two), 1.7, "lower"),
        Result("jobs: seconds of `seeds` against its runs", divide(one, alone), 1.03, "upper"),
    ]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the processes that are started in this context compute with one thread."""
    former = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if former is not None:
            os.environ["OMP_NUM_THREADS"] = former
