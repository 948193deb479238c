"""Interrupt and resume runs, and compare them with uninterrupted runs.

    python -m tests.stress.interruptions            # 4 ways to stop x 5 or 6 batches x all cases
    python -m tests.stress.interruptions --every 2 --cases mlp,rnn

Each run is a fork of this process, which has imported everything already. It is stopped at a batch by SIGKILL, SIGTERM,
SIGINT or an exception, and then resumed with `litnets resume`. Weights, optimizer state, schedule, metrics.csv and test
results must be bit-identical to those of the uninterrupted run.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from litnets.__main__ import main
from litnets.data import Digits, TextFiles  # noqa: F401  (imported before the fork)
from litnets.data.core import base
from litnets.tasks import Task
from litnets.training.checkpoints import saving
from litnets.training.resume import loop_state
from tests.helpers.tiny_text import rows, write_texts

COMMON = ["--trainer.max_epochs", "3", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "3"]
COMMON += ["--figures", "false"]
MLP = ["--model", "MLPClassifier", "--model.hidden_layer_sizes", "[16]", "--model.dropout", "0.3"]
NORM = ["--model.batch_norm", "true"]
DIGITS = ["--data", "Digits", "--data.batch_size", "64", "--model.lr", "0.01"]
ONE_CYCLE = ["--model.lr_scheduler", "OneCycleLR"]
PLATEAU = ["--model.lr_scheduler", "ReduceLROnPlateau", "--model.lr_scheduler_args", "{patience: 0, factor: 0.5}"]
TEXT = ["--data", "TextFiles", "--data.path", "texts.csv", "--data.batch_size", "8", "--data.token_dropout", "0.2"]
AUGMENT = [
    "--data.augment",
    "[AlternatingFlip, {class_path: RandomShift, init_args: {pixels: 1}}, RandomFlip]",
    *("--model.mixup", "0.4", "--model.cutmix", "1"),
]
AIRNET = ["--model", "AirNetClassifier", "--model.widths", "[4, 6]"]
EMA = ["--trainer.callbacks", "EMA", "--trainer.callbacks.decay", "0.9", "--trainer.callbacks+", "Lookahead"]
FREEZING = ["--model", "CNNClassifier", "--model.widths", "[4, 8]", "--model.dropout", "0.1", *DIGITS]
FREEZING += ["--trainer.callbacks", "Unfreeze", "--trainer.callbacks.schedule", "{head: 1, stages.1: 2, rest: 3}"]
FREEZING += ["--trainer.callbacks.lr_factors", "{stages.1: 0.5, stages.0: 0.2}"]
MOMENTUM = ["--model.optimizer", "SGDW", "--model.optimizer_args", "{momentum: 0.9}", "--model.weight_decay", "0.1"]
UNET = ["--model", "UNetSegmenter", "--model.widths", "[4, 8]", "--model.dropout", "0.2", "--model.lr", "0.01"]
SHAPES = ["--data", "Shapes", "--data.samples", "180", "--data.size", "16", "--data.batch_size", "12"]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]

CASES: dict[str, list[str]] = {
    "mlp": [*MLP, *DIGITS, *ONE_CYCLE],
    "mlp, 2 workers": [*MLP, *DIGITS, *ONE_CYCLE, "--data.num_workers", "2"],
    "mlp, accumulation": [*MLP, *DIGITS, *ONE_CYCLE, "--trainer.accumulate_grad_batches", "3"],
    "mlp, validation in an epoch": [*MLP, *NORM, *DIGITS, *PLATEAU, "--trainer.val_check_interval", "5"],
    "mlp, a save every 4 steps": [*MLP, *DIGITS, *PLATEAU, "--checkpoint.every_n_steps", "4"],
    "mlp, bf16": [*MLP, *DIGITS, *ONE_CYCLE, "--trainer.precision", "bf16-mixed"],
    "mlp, 2 processes": [*MLP, *DIGITS, *PLATEAU, *TWO],
    "cnn, augmentation": ["--model", "CNNClassifier", "--model.widths", "[4, 8]", *DIGITS, *AUGMENT, *PLATEAU],
    "airnet, averaged weights": [*AIRNET, *EMA, *DIGITS, *ONE_CYCLE],
    "airnet, averaged weights, 2 processes": [*AIRNET, *EMA, *DIGITS, *PLATEAU, *TWO],
    "cnn, freezing": [*FREEZING, "--model.layer_decay", "0.9", *ONE_CYCLE],
    "cnn, freezing, 2 processes": [*FREEZING, *MOMENTUM, *PLATEAU, *TWO],
    "unet": [*UNET, *SHAPES, "--data.augment", "[RandomFlip]", *ONE_CYCLE],
    "rnn": ["--model", "RNNClassifier", "--model.hidden_size", "8", "--model.dropout", "0.2", *DIGITS, *ONE_CYCLE],
    "rnn on text": ["--model", "RNNClassifier", "--model.hidden_size", "8", *TEXT, *PLATEAU],
}
BATCHES = (1, 4, 8, 13, 20)  # counted over epochs; an epoch has 9 batches of text or 17 of digits (9 with 2 processes)
# The last batch before each epoch in which a stage is unfrozen, and its first two.
AROUND_UNFREEZING = {"cnn, freezing": (16, 17, 18, 33, 34, 35), "cnn, freezing, 2 processes": (8, 9, 10, 17, 18, 19)}


def no_seed() -> None:
    for module in (saving, base):
        vars(module)["seed_batch"] = lambda *_, **__: None


def no_order() -> None:
    base.ArrayDataModule.start_at = lambda *_: None  # type: ignore[method-assign]


def no_metrics() -> None:
    vars(loop_state)["_load_metric_states"] = lambda *_: None


def no_optimizer() -> None:
    torch.optim.Optimizer.load_state_dict = lambda *_: None  # type: ignore[method-assign]


# Mechanisms of resume to disable. The comparison must then find a difference.
BROKEN: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "seed": no_seed,
    "order": no_order,
    "metrics": no_metrics,
    "optimizer": no_optimizer,
}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise RuntimeError("stopped on purpose")


WAYS: dict[str, Callable[[], None]] = {"SIGKILL": kill, "SIGTERM": terminate, "SIGINT": interrupt, "crash": crash}


def in_process(action: Callable[[], Any], processes: int = 1) -> int:
    """Run a function in one forked process, or in several as `torchrun` would start them.

    Returns:
        The exit code of the first process; negative if it was killed by a signal.
    """
    sys.stdout.flush()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    pids = [_fork(action, rank, processes, port) for rank in range(processes)]
    code = os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])
    for pid in pids[1:]:
        end = time.monotonic() + 60
        while time.monotonic() < end and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has exited already
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code


def _fork(action: Callable[[], Any], rank: int, processes: int, port: int) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if processes > 1:
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                rank_zero_only.rank = rank  # Lightning has read it from the environment already
                os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(processes)}
            sink = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            torch.set_num_threads(1)
            code = action() or 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def fit(args: list[str], stop: Callable[[], None] | None = None, at: int = 0) -> int:
    """Run `litnets fit`, optionally stopped in the training step of a batch."""
    original = Task.training_step

    def step(self: Task, batch: Any, batch_idx: int) -> Any:
        # Ctrl-C reaches all processes; the other ways stop only one of them.
        on_this_rank = self.trainer.global_rank == at % self.trainer.world_size or stop is interrupt
        stop_now = stop is not None and on_this_rank and self.trainer.fit_loop.epoch_loop.total_batch_idx == at
        if stop_now and stop is not crash:
            stop()
        result = original(self, batch, batch_idx)
        if stop_now and stop is crash:  # after batch normalization has updated its running statistics
            stop()
        return result

    def action() -> int:
        Task.training_step = step  # type: ignore[method-assign]
        return main(["fit", *args, *COMMON])

    return in_process(action, processes(args))


def resume(run: Path, processes: int, broken: str) -> int:
    command = ["resume", str(run)]
    if not list(run.glob("*.ckpt")):  # killed before the first save: start over with a new run
        shutil.move(run / "config.yaml", "start_over.yaml")  # before the processes start, which would race for it
        shutil.rmtree(run)
        command = ["fit", "--config", "start_over.yaml"]

    def action() -> int:
        BROKEN[broken]()
        return main(command)

    return in_process(action, processes)


def processes(args: list[str]) -> int:
    return 2 if "ddp" in args else 1


def outcome(run: Path) -> dict[str, Any]:
    """Return what must be identical: the last checkpoint (without times), metrics.csv, best score and test results."""
    content = torch.load(run / "last.ckpt", weights_only=True)
    del content[loop_state.KEY]["config"]  # contains the name of the folder, which differs
    content["callbacks"] = {k: v for k, v in content["callbacks"].items() if k.startswith(("Checkpoint", "EarlyStop"))}
    results = json.loads((run / "results.json").read_text())
    numbers = {name: results[name] for name in ("best", "epochs", "steps", "test", "test_per_class")}
    return {"last": content, "metrics": (run / "metrics.csv").read_text(), **numbers}


def difference(first: Any, second: Any, where: str = "") -> str | None:
    """Return where two outcomes first differ, or None if they are bit-identical."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return f"{where}: {sorted(map(str, first.keys() ^ second.keys()))}"
        return next((d for key in first if (d := difference(first[key], second[key], f"{where}/{key}"))), None)
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return next(
            (d for i, (a, b) in enumerate(zip(first, second, strict=True)) if (d := difference(a, b, f"{where}/{i}"))),
            None,
        )
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return None if torch.equal(first, second) else where
    return None if first == second else f"{where}: {str(first)[:60]} | {str(second)[:60]}"


def batches_done(run: Path) -> int:
    """Return the number of batches completed in the last checkpoint, over all epochs; 0 without a checkpoint."""
    if not (run / "last.ckpt").exists():
        return 0
    loop = torch.load(run / "last.ckpt", weights_only=True)["loops"]["fit_loop"]
    return int(loop["epoch_loop.batch_progress"]["total"]["completed"])


def only_run(root: str) -> Path:
    (config,) = Path(root).glob("*/*/config.yaml")
    return config.parent


def check(case: str, ways: list[str], batches: tuple[int, ...], broken: str) -> list[tuple[str, int, str]]:
    """Interrupt a case in each way at each batch.

    Returns:
        The way, the batch and the difference from the uninterrupted run (empty if the two are identical).
    """
    args = CASES[case]
    write_texts(Path("texts.csv"), rows())
    code = fit([*args, "--runs_dir", "uninterrupted"])
    assert code == 0, f"{case}: exit code {code}\n{Path('log.txt').read_text()[-3000:]}"
    expected = outcome(only_run("uninterrupted"))
    differences = []
    for way in ways:
        for at in batches:
            shutil.rmtree("stopped", ignore_errors=True)
            code = fit([*args, "--runs_dir", "stopped"], WAYS[way], at)
            if code == 0:
                differences.append((way, at, "was not stopped"))
                continue
            # With gradient accumulation, no step is complete at the first of the batches, so there is no checkpoint.
            if way == "crash" and at > BATCHES[0] and (done := batches_done(only_run("stopped"))) != at:
                differences.append((way, at, f"would resume at batch {done}"))
                continue
            code = resume(only_run("stopped"), processes(args), broken)
            differences.append(
                (
                    way,
                    at,
                    f"resume: exit code {code}" if code else difference(outcome(only_run("stopped")), expected) or "",
                )
            )
    shutil.rmtree("uninterrupted")
    return differences


def table(cases: list[str], every: int, broken: str) -> int:
    """Run the matrix and print it. Return the number of runs that differ from the uninterrupted run."""
    start = time.monotonic()
    total = num_different = 0
    print(f"{'case':<40}" + "".join(f"{way:>12}" for way in WAYS))
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            previous_dir = Path.cwd()
            os.chdir(folder)
            differences = check(case, list(WAYS), AROUND_UNFREEZING.get(case, BATCHES)[::-every], broken)
            os.chdir(previous_dir)
        cells = []
        for way in WAYS:
            reasons = [reason for w, _, reason in differences if w == way]
            cells.append(f"{sum(not reason for reason in reasons)} of {len(reasons)}")
        print(f"{case:<40}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
        for way, at, reason in differences:
            if reason:
                print(f"    {way} at batch {at}: {reason}")
        total += len(differences)
        num_different += sum(bool(reason) for _, _, reason in differences)
    print(f"{total} interruptions, {total - num_different} identical, {time.monotonic() - start:.0f} s")
    return num_different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES).replace(", ", "_"), help="cases to run")
    parser.add_argument("--every", type=int, default=1, help="stop only at every n-th of the batches")
    parser.add_argument(
        "--broken", choices=BROKEN, default="nothing", help="disable a mechanism, which must be detected"
    )
    options = parser.parse_args()
    names = {case.replace(", ", "_"): case for case in CASES}
    sys.exit(1 if table([names[name] for name in options.cases.split(",")], options.every, options.broken) else 0)
