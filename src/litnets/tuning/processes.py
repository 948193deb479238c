"""Run jobs in this process, or in several worker processes that each run many of them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from litnets.runs.folder import Run
from litnets.safety.resolving import import_object
from litnets.tuning.job import FinishedJob, Job, Train, run_job


class ThisProcess:
    """Run one job at a time in this process: `start` stores the job, and `wait` runs it."""

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

    def wait(self) -> FinishedJob:
        assert self._job is not None
        job, self._job = self._job, None
        return run_job(job, self._parent, self._train)


@dataclass
class _Worker:
    """A process and the job that it runs."""

    process: SpawnProcess
    connection: Connection
    job: Job | None = None


class WorkerProcesses:
    """Run jobs in worker processes, which are started when they are needed, and replaced if they are killed."""

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
        for worker in [worker for worker in self._workers if worker.job is None]:
            try:
                worker.connection.send(job)
            except ConnectionError:  # it was killed while it was idle
                self._remove(worker)
            else:
                worker.job = job
                return
        worker = self._start_worker()
        worker.job = job
        with suppress(ConnectionError):  # it has been killed already, which `wait` reports
            worker.connection.send(job)

    def _remove(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _start_worker(self) -> _Worker:
        import torch  # here, because the started process imports this module before it sets the number of threads

        context = multiprocessing.get_context("spawn")
        connection, worker_end = context.Pipe()
        threads = max(1, torch.get_num_threads() // self._num_workers)
        # The function is passed by its name, so that the process imports Lightning only after it has set its number of
        # threads.
        name = f"{self._train.__module__}.{self._train.__qualname__}"  # type: ignore[attr-defined]
        arguments = (worker_end, self._parent, name, threads)
        process = context.Process(target=_work, args=arguments)
        with _ignore_interrupt():
            process.start()
        worker_end.close()  # so that the end of the process closes the connection
        self._workers.append(_Worker(process, connection))
        return self._workers[-1]

    def wait(self) -> FinishedJob:
        """Wait until a job has ended, and return it."""
        ready = wait([worker.connection for worker in self._busy])[0]
        worker = next(worker for worker in self._workers if worker.connection is ready)
        assert worker.job is not None
        job, worker.job = worker.job, None
        try:
            finished: FinishedJob = worker.connection.recv()
            return finished
        except (EOFError, ConnectionError):
            self._remove(worker)
            run = Run(self._parent / job.name)
            return FinishedJob(job, run, _describe_exit(worker.process.exitcode), was_killed=True)


@contextmanager
def _ignore_interrupt() -> Iterator[None]:
    """Let a process that is started here ignore Ctrl-C, which reaches all processes: this one ends the others."""
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
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _work(connection: Connection, parent: Path, train: str, num_threads: int) -> None:
    """Run the jobs that arrive, until the process is terminated."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(num_threads)  # before torch is imported
    function: Train = import_object(train)
    with suppress(EOFError, ConnectionError):  # the parent process is gone
        while True:
            connection.send(run_job(connection.recv(), parent, function))


def _end_with_parent() -> None:
    """When the parent process is gone, save the run and end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
