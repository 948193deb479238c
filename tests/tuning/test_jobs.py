import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from litnets.runs.folder import Run
from litnets.tuning.jobs import FinishedJob, Job, run_jobs
from tests.conftest import ROOT
from tests.helpers.fake_training import calls, processes, train

PARENT = Path("parent")


@pytest.fixture(autouse=True)
def _parent() -> None:
    PARENT.mkdir()


def run_all(jobs: list[Job], num_workers: int = 1) -> dict[str, FinishedJob]:
    """Run the jobs, and return how each ended, in the order in which they ended."""
    waiting = iter(jobs)
    told: dict[str, FinishedJob] = {}
    run_jobs(PARENT, lambda: next(waiting, None), lambda job: told.update({job.job.name: job}), train, num_workers)
    return told


def test_what_is_done_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job("a", ["--x=1"], ["--y=2"]), Job("b", ["--wrong"]), Job("c", ["--crash"])]
    first = run_all(jobs)
    assert {name: job.error for name, job in first.items()} == {
        "a": None,
        "b": "wrong: no such option",
        "c": "ZeroDivisionError: a bug",
    }
    assert calls(first["a"].run) == ["new --x=1 --y=2"]
    assert Path(PARENT, "a.log").read_text() == "training --x=1 --y=2\n"
    assert "line" in Path(PARENT, "c.log").read_text(), "the traceback is in the log"
    second = run_all(jobs)
    assert {name: job.was_done for name, job in second.items()} == {"a": True, "b": False, "c": False}
    assert calls(second["a"].run) == ["new --x=1 --y=2"]
    assert capsys.readouterr() == ("", "")


def test_a_run_with_a_checkpoint_is_resumed_and_any_other_is_started_again() -> None:
    for name in ("interrupted", "without_checkpoint"):
        Path(PARENT, name).mkdir()
    Path(PARENT, "interrupted", "last.ckpt").touch()
    Path(PARENT, "without_checkpoint", "metrics.csv").touch()
    told = run_all([Job(name, ["--x=1"], ["--y=2"]) for name in ("interrupted", "without_checkpoint")])
    assert calls(told["interrupted"].run) == ["resume --y=2"]
    assert calls(told["without_checkpoint"].run) == ["new --x=1 --y=2"]
    assert not Path(PARENT, "without_checkpoint", "metrics.csv").exists()


def test_a_job_with_other_changes_resumes_a_run_that_is_done() -> None:
    run_all([Job("a", ["--x"], ["--trainer.max_epochs=1"])])
    told = run_all([Job("a", ["--x"], ["--trainer.max_epochs=3"])])
    assert calls(told["a"].run) == ["new --x --trainer.max_epochs=1", "resume --trainer.max_epochs=3"]


def test_a_job_may_depend_on_those_that_have_ended() -> None:
    told: list[str] = []

    def ask() -> Job | None:
        if not told:
            return Job("first", []) if not list(PARENT.iterdir()) else None
        return Job(f"after_{told[-1]}", []) if len(told) < 3 else None

    run_jobs(PARENT, ask, lambda finished: told.append(finished.job.name), train)
    assert told == ["first", "after_first", "after_after_first"]


def test_processes_train_many_runs_each_and_one_that_is_killed_is_replaced() -> None:
    jobs = [Job("killed", ["--kill"]), *(Job(f"run_{number}", []) for number in range(4))]
    told = run_all(jobs, num_workers=2)
    assert told["killed"].error == "its process was killed by SIGKILL"
    assert told["killed"].was_killed
    others = [job for name, job in told.items() if name != "killed"]
    assert len(others) == 4
    assert all(job.error is None for job in others)
    assert 1 <= len(processes([job.run for job in others])) <= 3
    assert str(os.getpid()) not in processes([job.run for job in others])
    assert calls(run_all(jobs)["killed"].run) == ["new --kill", "resume "]


def test_a_process_that_is_killed_while_it_waits_is_replaced() -> None:
    asked = iter([Job("first", []), None, Job("second", [])])
    told: list[FinishedJob] = []

    def tell(finished: FinishedJob) -> None:
        told.append(finished)
        if len(told) == 1:
            (number,) = processes([finished.run])
            (process,) = (child for child in active_children() if child.pid == int(number))
            process.kill()
            process.join()

    run_jobs(PARENT, lambda: next(asked, None), tell, train, num_workers=2)
    assert [(finished.job.name, finished.error) for finished in told] == [("first", None), ("second", None)]


def test_processes_end_when_their_parent_is_killed() -> None:
    code = (
        "from pathlib import Path; from litnets.tuning.jobs import Job, run_jobs\n"
        "from tests.helpers.fake_training import train\n"
        "jobs = iter([Job('a', ['--wait'])])\n"
        "run_jobs(Path('parent'), lambda: next(jobs, None), print, train, 2)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    run = Run(PARENT / "a")
    while not run.last.exists():
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    told = run_all([Job("a", ["--wait"])])  # waits for the lock that the process of the killed command holds
    assert told["a"].error is None
    assert calls(run) == ["new --wait", "resume "]
