"""A job: one run to train, as a new run or by resuming an interrupted one."""

import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import RunInUseError

_LOCK_TIMEOUT = 60.0  # seconds for a process of an earlier command to save its run and end


class Train(Protocol):
    """A function that trains one run. Other processes import it, so it must be defined at the top of a module."""

    def __call__(self, options: list[str], run: Run, resumes: bool) -> object:
        """Train the run.

        Args:
            options: Options of `fit`.
            run: The run, whose folder does not exist yet unless it is resumed.
            resumes: Whether to resume the run, with options that override those of its configuration.
        """


@dataclass(frozen=True)
class Job:
    """A run to train.

    Args:
        name: Name of the run's folder.
        options: Options of `fit` for a new run.
        changes: Options that override `options` or, if the run exists, those of its configuration. With
            `--trainer.max_epochs=20` here, a job resumes a run that an earlier job has trained for fewer epochs.
    """

    name: str
    options: Sequence[str]
    changes: Sequence[str] = ()


@dataclass(frozen=True)
class FinishedJob:
    """A job that has ended.

    Args:
        job: The job.
        run: Its run.
        error: Why it failed; None if it succeeded.
        was_done: Whether an earlier call of `run_jobs` has already finished it.
        was_killed: Whether its process ended before the job did.
    """

    job: Job
    run: Run
    error: str | None = None
    was_done: bool = False
    was_killed: bool = False


def run_job(job: Job, parent: Path, train: Train) -> FinishedJob:
    """Run a job in PARENT/NAME, with its output in PARENT/NAME.log."""
    run = Run(parent / job.name)
    with _output_to(parent / f"{job.name}.log"):
        try:
            if _can_resume(run):
                train(list(job.changes), run, True)
            else:
                train([*job.options, *job.changes], run, False)
        except InputError as error:
            print(f"litnets: {error}")
            return FinishedJob(job, run, str(error))
        except Exception as error:
            traceback.print_exc()
            return FinishedJob(job, run, f"{type(error).__name__}: {error}")
    return FinishedJob(job, run)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Append what is printed to a file."""
    with log.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        yield


def _can_resume(run: Run) -> bool:
    """Return whether the run has a checkpoint. If it was killed before its first one, remove its folder.

    Raises:
        RunInUseError: Another process keeps writing into the folder.
    """
    if not run.folder.exists():
        return False
    _wait_for_lock(run)
    try:
        if run.checkpoints():
            return True
        shutil.rmtree(run.folder)
        return False
    finally:
        run.unlock()


def _wait_for_lock(run: Run) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            return run.lock()
        except RunInUseError:
            if time.monotonic() > deadline:
                raise
