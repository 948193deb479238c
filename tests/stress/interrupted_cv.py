"""Interrupt `litnets cv` at random moments, and compare its results with those of an uninterrupted one.

    python -m tests.stress.interrupted_cv                     # 20 interruptions
    python -m tests.stress.interrupted_cv --jobs 2 --seed 1

Each command is a fork of this process, which has imported everything already. It is interrupted by Ctrl-C, SIGTERM or
SIGKILL, or SIGKILL ends one of its worker processes. The same command is then started again, until it ends by itself.
cv.csv and the out-of-fold predictions must be identical to the last byte, and a finished run must not change again.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from litnets.__main__ import main
from litnets.cli.commands import cv  # noqa: F401  (imported before the fork)
from litnets.data import Iris  # noqa: F401

OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--recipe", "false", "--trainer.max_epochs", "6"]
OPTIONS += ["--model.dropout", "0.2", "--figures", "false", "--wandb.mode", "off"]


def start(folder: Path, jobs: int) -> int:
    """Start the command in the folder, in its own process group, and return its process ID."""
    folder.mkdir(exist_ok=True)
    if (pid := os.fork()) != 0:
        return pid
    os.setsid()
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        code = main(["cv", "--folds", "4", "--jobs", str(jobs), *OPTIONS])
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """Return the exit status of a process, or None if it is still running after this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def interrupt(pid: int) -> str:
    """Send a signal to the command or to one of its worker processes, and return what was done."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    workers = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    victim = random.choice(["command", "command", "worker", "Ctrl-C", "SIGTERM"])
    if victim == "worker" and workers:
        os.kill(int(random.choice(workers)), signal.SIGKILL)
    elif victim == "Ctrl-C":
        os.killpg(pid, signal.SIGINT)
    elif victim == "SIGTERM":
        os.kill(pid, signal.SIGTERM)
    else:
        victim = "command"
        os.kill(pid, signal.SIGKILL)
    return victim


def results(folder: Path) -> tuple[bytes, bytes]:
    """Return the results of the only command in a folder."""
    (parent,) = folder.glob("checkpoints/*/cv_*")
    return (parent / "cv.csv").read_bytes(), (parent / "out_of_fold.parquet").read_bytes()


def when_done(folder: Path) -> dict[str, int]:
    """Return the time at which the results of each finished run were written."""
    paths = folder.glob("checkpoints/*/cv_*/jobs.json")
    return {
        name: (path.parent / name / "results.json").stat().st_mtime_ns
        for path in paths
        for name in json.loads(path.read_text())
    }


def check(work: Path, interruptions: int, jobs: int) -> int:
    """Interrupt commands, and return the number of differences."""
    begin = time.monotonic()
    if (code := wait(start(work / "uninterrupted", jobs), 600)) != 0:
        raise SystemExit(f"the uninterrupted command ended with {code}: {work}/uninterrupted/output.txt")
    duration = time.monotonic() - begin
    expected = results(work / "uninterrupted")
    print(f"uninterrupted: {duration:.1f} s", flush=True)
    done, failures, number = 0, 0, 0
    while done < interruptions:
        number += 1
        folder = work / f"interrupted_{number}"
        finished: dict[str, int] = {}
        how = []
        while True:
            pid = start(folder, jobs)
            code = wait(pid, random.uniform(0, duration / 2) if done < interruptions else 600)
            if code is None:
                how.append(interrupt(pid))
                done += 1
                if wait(pid, 120) is None:
                    raise SystemExit(f"the command does not end after {how[-1]}: {folder}/output.txt")
            now = when_done(folder)
            failures += any(now.get(name) != moment for name, moment in finished.items())
            finished = now
            if code is not None:
                break
        same = code == 0 and results(folder) == expected
        failures += not same
        print(f"{', '.join(how) or 'not interrupted'}: {'identical' if same else f'DIFFERENT ({code})'}", flush=True)
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interruptions", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="litnets-interrupted-cv-") as name:
        problems = check(Path(name), arguments.interruptions, arguments.jobs)
    print(f"{arguments.interruptions} interruptions, {problems} differences")
    sys.exit(problems > 0)
