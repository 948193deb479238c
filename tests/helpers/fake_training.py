"""A training for the tests of jobs, which processes import by name."""

import os
import signal
import time
from pathlib import Path

from litnets.errors import InputError
from litnets.runs.folder import Run


def train(options: list[str], run: Run, resumes: bool) -> None:
    """Record the options, the process and whether the run is resumed. Some options end the training."""
    run.folder.mkdir(exist_ok=True)
    with Path(run.folder, "calls.txt").open("a") as file:
        file.write(f"{'resume' if resumes else 'new'} {' '.join(options)} {os.getpid()}\n")
    print("training", *options)
    if "--wrong" in options:
        raise InputError("wrong: no such option")
    if "--crash" in options:
        raise ZeroDivisionError("a bug")
    if "--kill" in options and not resumes:
        run.last.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "--wait" in options:
        run.lock()
        run.last.touch()
        time.sleep(60)
    run.last.touch()
    run.update_results(test={"options": options})


def calls(run: Run) -> list[str]:
    """Return the calls that trained a run, without the process."""
    return [line.rpartition(" ")[0] for line in Path(run.folder, "calls.txt").read_text().splitlines()]


def processes(runs: list[Run]) -> set[str]:
    """Return the processes that trained the runs."""
    texts = [Path(run.folder, "calls.txt").read_text() for run in runs]
    return {line.rpartition(" ")[2] for text in texts for line in text.splitlines()}
