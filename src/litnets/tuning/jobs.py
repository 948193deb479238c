"""Train many runs in the folders PARENT/NAME, one after another or in several processes.

    jobs = iter([Job(f"fold_{fold}", [*options, f"--data.fold={fold}"]) for fold in range(5)])
    run_jobs(parent, ask=lambda: next(jobs, None), tell=print, train=train_in_folder, num_workers=2)

Each process trains many runs, because importing Lightning takes longer than training a small network. PARENT/jobs.json
lists the jobs that are done. If any of the processes is killed, repeat the same call: it skips the jobs that are done,
and resumes an interrupted run from its last checkpoint. What a run prints is written to PARENT/NAME.log.
"""

from collections.abc import Callable
from pathlib import Path

from litnets.runs.folder import Run
from litnets.runs.storage import read_json, write_json
from litnets.tuning.job import FinishedJob, Job, Train
from litnets.tuning.processes import ThisProcess, WorkerProcesses

__all__ = ["FinishedJob", "Job", "Train", "run_jobs"]


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
            `tell` has been called for all jobs that have ended. If it returns None while no job is running, all jobs
            are done.
        tell: Called with each job that has ended.
        train: Trains one run.
        num_workers: Number of processes. With 1, the jobs run one after another in this process; several processes
            share the CPU cores.
    """
    done = _DoneJobs(parent / "jobs.json")
    with ThisProcess(parent, train) if num_workers == 1 else WorkerProcesses(parent, train, num_workers) as workers:
        while True:
            while workers.has_free and (job := ask()) is not None:
                if job in done:
                    tell(FinishedJob(job, Run(parent / job.name), was_done=True))
                else:
                    workers.start(job)
            if not workers.is_busy:
                return
            finished = workers.wait()
            if finished.error is None:
                done.add(finished.job)
            tell(finished)


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
