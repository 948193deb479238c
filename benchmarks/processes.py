"""What is measured from outside, in processes of their own: start, memory, and two processes against one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.figure import Figure, Settings, divided, take_turns
from benchmarks.pictures import write_mnist

ROOT = Path(__file__).parent.parent


class EndAtFirstBatch(Callback):
    """Ends the process when the first batch is there."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        os._exit(0)


def measure_start(settings: Settings) -> list[Figure]:
    """Seconds until the first batch of digits_mlp, against the bare import of Lightning's CLI."""
    config = ("--config", "configs/digits_mlp.yaml", "--runs_dir", str(settings.work / "runs"), "--wandb.mode", "off")
    callback = ("--trainer.accelerator", "cpu", "--trainer.callbacks+=benchmarks.processes.EndAtFirstBatch")
    seconds = take_turns(
        settings.rounds,
        bare=lambda: _run("-c", "import os, lightning.pytorch.cli; os._exit(0)").seconds,
        first_batch=lambda: _run("-m", "litnets", "fit", *config, *callback).seconds,
    )
    name = "start: first batch of digits_mlp against importing lightning.pytorch.cli"
    return [Figure(name, divided(seconds["first_batch"], seconds["bare"]), 1.2, "most")]


def measure_memory(settings: Settings) -> list[Figure]:
    """The peak of a training's memory above that of a small set, against the bytes of the larger one."""
    sizes = {"small": 6000, "large": settings.size(600_000, 12_000)}
    for name, size in sizes.items():
        write_mnist(settings.work / name, size, 1000)

    def peak(name: str) -> float:
        limits = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "20", "--test_after_fit", "false")
        return _fit(settings, settings.work / name, *limits, "--model", "MLPClassifier").peak

    peaks = take_turns(settings.slow_rounds, small=lambda: peak("small"), large=lambda: peak("large"))
    more = (sizes["large"] - sizes["small"]) * 28 * 28
    ratios = [(large - small) / more for small, large in zip(peaks["small"], peaks["large"], strict=True)]
    return [Figure("memory: peak above the start-up against the data as uint8", ratios, 1.2, "most")]


def measure_processes(settings: Settings) -> list[Figure]:
    """Samples a second of two processes against those of one, as the runs' results say."""
    limits = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", str(settings.size(50, 2)))
    rest = ("--trainer.limit_val_batches", "1", "--test_after_fit", "false", "--trainer.precision", "auto")
    network = ("--model", "CNNClassifier", "--model.blocks_per_stage", "1", *limits, *rest)

    def speed(devices: int) -> float:
        runs = settings.work / "processes" / str(time.monotonic_ns())
        _fit(settings, settings.data, *network, "--trainer.devices", str(devices), "--runs_dir", str(runs))
        (results,) = runs.glob("*/*/results.json")
        return float(json.loads(results.read_text())["samples_per_second"])

    speeds = take_turns(settings.slow_rounds, one=lambda: speed(1), two=lambda: speed(2))
    return [Figure("processes: speed of two (ddp, CNN) against one", divided(speeds["two"], speeds["one"]))]


# A process starts with the peak of the one that started it, so a small one stands between.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([seconds, peak, done.returncode, done.stdout]))
"""


class _Ended(NamedTuple):
    """How many seconds a process ran, the most bytes of memory that it had, its exit code, and what it said."""

    seconds: float
    peak: float
    code: int
    said: str


def _fit(settings: Settings, data: Path, *options: str) -> _Ended:
    runs = ("--data", "MNIST", "--data.data_dir", str(data), "--runs_dir", str(settings.work / "runs"))
    return _run("-m", "litnets", "fit", *runs, "--trainer.accelerator", "cpu", "--wandb.mode", "off", *options)


def _run(*args: str) -> _Ended:
    """Run Python in the repository's folder.

    Raises:
        RuntimeError: It failed.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", _LAUNCHER, *args]
    text = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    ended = _Ended(*json.loads(text))
    if ended.code:
        raise RuntimeError(f"python {' '.join(args)} ended with {ended.code}:\n{ended.said}")
    return ended
