"""Train many runs in the folders PARENT/NAME, one after another or in several processes.

    jobs = iter([Job(f"fold_{fold}", [*options, f"--data.fold={fold}"]) for fold in range(5)])
    run_jobs(parent, ask=lambda: next(jobs, None), tell=print, train=train_in_folder, num_workers=2)

Each process trains many runs, because importing Lightning takes longer than a small training. PARENT/jobs.json lists
the jobs that are done. If any of the processes is killed, the same call finishes: what is done is not repeated, and an
interrupted run is resumed from its last checkpoint. What a run prints is written to PARENT/NAME.log.
"""

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import RunInUseError
from litnets.runs.storage import read_json, write_json

_ITS_PROCESS = "its process"
_LOCK_TIMEOUT = 60.0  # seconds for a process of an earlier command to save its run and end


class Train(Protocol):
    """A function that trains one run. Other processes import it, so it must be defined at the top of a module."""

    def __call__(self, options: list[str], run: Run, resumes: bool) -> object:
        """Train.

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
        changes: Options that override them, and those of an existing run. With `--trainer.max_epochs=20` here, a job
            resumes a run that an earlier job has trained for fewer epochs.
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
        error: Why it failed; None if it is done.
        was_done: Whether an earlier call has done it.
    """

    job: Job
    run: Run
    error: str | None = None
    was_done: bool = False

    @property
    def was_killed(self) -> bool:
        """Whether its process ended before the job did."""
        return self.error is not None and self.error.startswith(_ITS_PROCESS)


def run_jobs(
    parent: Path,
    ask: Callable[[], Job | None],
    tell: Callable[[FinishedJob], object],
    train: Train,
    num_workers: int = 1,
) -> None:
    """Run jobs until there are none. If an exception or a signal interrupts this, the running jobs save their runs.

    Args:
        parent: The folder of the run folders, which exists.
        ask: Returns the next job, or None if there is none at present. It is called whenever a process is free, after
            all jobs that ended before have been told, and ends the jobs if it returns None while none is running.
        tell: Called with each job that has ended.
        train: Trains one run.
        num_workers: Number of processes. One job at a time is run in this process; several processes divide the
            processor cores among them.
    """
    done = _DoneJobs(parent / "jobs.json")
    with _ThisProcess(parent, train) if num_workers == 1 else _WorkerProcesses(parent, train, num_workers) as workers:
        while True:
            while workers.has_free and (job := ask()) is not None:
                if job in done:
                    tell(FinishedJob(job, Run(parent / job.name), was_done=True))
                else:
                    workers.start(job)
            if not workers.is_busy:
                return
            job, error = workers.wait()
            if error is None:
                done.add(job)
            tell(FinishedJob(job, Run(parent / job.name), error))


class _DoneJobs:
    """The jobs that are done, with their options, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._options = read_json(path) if path.exists() else {}

    def __contains__(self, job: Job) -> bool:
        return self._options.get(job.name) == [*job.options, *job.changes]

    def add(self, job: Job) -> None:
        self._options[job.name] = [*job.options, *job.changes]
        write_json(self.path, self._options)


def _run_job(job: Job, parent: Path, train: Train) -> str | None:
    """Run a job, and return why it failed, or None."""
    run = Run(parent / job.name)
    with _output_to(parent / f"{job.name}.log"):
        try:
            if _can_resume(run):
                train(list(job.changes), run, True)
            else:
                train([*job.options, *job.changes], run, False)
        except InputError as error:
            print(f"litnets: {error}")
            return str(error)
        except Exception as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
    return None


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


class _ThisProcess:
    """Runs one job at a time in this process, when it is waited for."""

    def __init__(self, parent: Path, train: Train) -> None:
        self._parent, self._train = parent, train
        self._job: Job | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    @property
    def has_free(self) -> bool:
        return self._job is None

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def start(self, job: Job) -> None:
        self._job = job

    def wait(self) -> tuple[Job, str | None]:
        assert self._job is not None
        job, self._job = self._job, None
        return job, _run_job(job, self._parent, self._train)


@dataclass
class _Worker:
    """A process and the job that it runs."""

    process: SpawnProcess
    connection: Connection
    job: Job | None = None


class _WorkerProcesses:
    """Runs jobs in processes, which are started when they are needed, and replaced if they are killed."""

    def __init__(self, parent: Path, train: Train, num_workers: int) -> None:
        self._parent, self._train, self._num_workers = parent, train, num_workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers:
            worker.process.terminate()  # a training then saves its run
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    @property
    def has_free(self) -> bool:
        return len(self._busy) < self._num_workers

    @property
    def is_busy(self) -> bool:
        return bool(self._busy)

    def start(self, job: Job) -> None:
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._start_worker()
        worker.job = job
        worker.connection.send(job)

    def _start_worker(self) -> _Worker:
        import torch  # here, because the started process imports this module before it sets the number of threads

        context = multiprocessing.get_context("spawn")
        connection, worker_end = context.Pipe()
        threads = max(1, torch.get_num_threads() // self._num_workers)
        # The function is unpickled, which imports Lightning, when the process is ready for it.
        arguments = (worker_end, self._parent, pickle.dumps(self._train), threads)
        process = context.Process(target=_work, args=arguments)
        with _ignore_interrupt():
            process.start()
        worker_end.close()  # so that the end of the process closes the connection
        self._workers.append(_Worker(process, connection))
        return self._workers[-1]

    def wait(self) -> tuple[Job, str | None]:
        """Wait until a job has ended, and return it and why it failed, or None."""
        ready = wait([worker.connection for worker in self._busy])[0]
        worker = next(worker for worker in self._workers if worker.connection is ready)
        assert worker.job is not None
        job, worker.job = worker.job, None
        try:
            return job, worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            worker.connection.close()
            self._workers.remove(worker)
            return job, _describe_exit(worker.process.exitcode)


@contextmanager
def _ignore_interrupt() -> Iterator[None]:
    """Let a process that is started ignore Ctrl-C, which reaches it too; this process then ends it."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"{_ITS_PROCESS} was killed by {signal.Signals(-code).name}"
    return f"{_ITS_PROCESS} ended with exit code {code}"


def _work(connection: Connection, parent: Path, train: bytes, num_threads: int) -> None:
    """Run the jobs that arrive, until the process is terminated."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(num_threads)  # before torch is imported
    function: Train = pickle.loads(train)
    with suppress(EOFError, ConnectionError):  # the parent process is gone
        while True:
            connection.send(_run_job(connection.recv(), parent, function))


def _end_with_parent() -> None:
    """When the parent process is gone, save the run and end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
