"""Measure separate processes: start-up time, peak memory, and two processes against one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.images import write_mnist
from benchmarks.result import Result, Settings, divide, interleave

ROOT = Path(__file__).parent.parent


class ExitAtFirstBatch(Callback):
    """Exit the process when the first batch is loaded."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        os._exit(0)


def measure_start(settings: Settings) -> list[Result]:
    """Compare the seconds until the first batch of digits_mlp with importing Lightning's CLI alone."""
    config = ("--config", "configs/digits_mlp.yaml", "--runs_dir", str(settings.work / "runs"), "--wandb.mode", "off")
    callback = ("--trainer.accelerator", "cpu", "--trainer.callbacks+=benchmarks.processes.ExitAtFirstBatch")
    seconds = interleave(
        settings.rounds,
        bare=lambda: run_python("-c", "import os, lightning.pytorch.cli; os._exit(0)").seconds,
        first_batch=lambda: run_python("-m", "litnets", "fit", *config, *callback).seconds,
    )
    name = "start: first batch of digits_mlp against importing lightning.pytorch.cli"
    return [Result(name, divide(seconds["first_batch"], seconds["bare"]), 1.2, "upper")]


def measure_memory(settings: Settings) -> list[Result]:
    """Compare the increase in peak memory from a small to a large data set with the increase in bytes."""
    sizes = {"small": 6000, "large": settings.size(600_000, 12_000)}
    for name, size in sizes.items():
        write_mnist(settings.work / name, size, 1000)

    def peak(name: str) -> float:
        limits = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "20", "--test_after_fit", "false")
        return _fit(settings, settings.work / name, *limits, "--model", "MLPClassifier").peak

    peaks = interleave(settings.slow_rounds, small=lambda: peak("small"), large=lambda: peak("large"))
    extra_bytes = (sizes["large"] - sizes["small"]) * 28 * 28
    ratios = [(large - small) / extra_bytes for small, large in zip(peaks["small"], peaks["large"], strict=True)]
    return [Result("memory: peak above the start-up against the data as uint8", ratios, 1.2, "upper")]


def measure_processes(settings: Settings) -> list[Result]:
    """Compare the samples per second of two processes with one, from the results of the runs."""
    limits = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", str(settings.size(50, 2)))
    rest = ("--trainer.limit_val_batches", "1", "--test_after_fit", "false", "--trainer.precision", "auto")
    network = ("--model", "CNNClassifier", "--model.blocks_per_stage", "1", *limits, *rest)

    def speed(devices: int) -> float:
        runs = settings.work / "processes" / str(time.monotonic_ns())
        _fit(settings, settings.data, *network, "--trainer.devices", str(devices), "--runs_dir", str(runs))
        (results,) = runs.glob("*/*/results.json")
        return float(json.loads(results.read_text())["samples_per_second"])

    speeds = interleave(settings.slow_rounds, one=lambda: speed(1), two=lambda: speed(2))
    return [Result("processes: speed of two (ddp, CNN) against one", divide(speeds["two"], speeds["one"]))]


# A child process inherits the peak memory of its parent, so a small launcher process runs in between.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([seconds, peak, done.returncode, done.stdout]))
"""


class _CompletedProcess(NamedTuple):
    """A process that has ended: its run time in seconds, peak memory in bytes, exit code and output."""

    seconds: float
    peak: float
    code: int
    output: str


def _fit(settings: Settings, data: Path, *options: str) -> _CompletedProcess:
    runs = ("--data", "MNIST", "--data.data_dir", str(data), "--runs_dir", str(settings.work / "runs"))
    return run_python(
        "-m",
        "litnets",
        "fit",
        "--recipe",
        "false",
        *runs,
        "--trainer.accelerator",
        "cpu",
        "--wandb.mode",
        "off",
        *options,
    )


def run_python(*args: str) -> _CompletedProcess:
    """Run Python with these arguments in the root of the repository.

    Raises:
        RuntimeError: The process failed.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", _LAUNCHER, *args]
    text = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    completed = _CompletedProcess(*json.loads(text))
    if completed.code:
        raise RuntimeError(f"python {' '.join(args)} exited with {completed.code}:\n{completed.output}")
    return completed
