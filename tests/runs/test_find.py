"""Which run the name of an experiment stands for."""

import os
from pathlib import Path

from litnets.runs.find import find_run
from tests.helpers.tiny_runs import write_run

RUNS_DIR = Path("checkpoints")


def write_aged(name: str, age: int) -> None:
    os.utime(write_run(name).environment, (1e9 - age, 1e9 - age))


def test_an_experiment_stands_for_its_newest_run_but_not_for_a_trial() -> None:
    write_aged("search_1/trial_000", age=1)
    Path("checkpoints/pets/search_1/command.json").touch()
    assert find_run("pets", RUNS_DIR).folder == RUNS_DIR / "pets/search_1/trial_000"  # there is no other run
    write_aged("old", age=3)
    write_aged("new", age=2)
    assert find_run("pets", RUNS_DIR).folder == RUNS_DIR / "pets/new"
    assert find_run("checkpoints/pets/search_1", RUNS_DIR).folder == RUNS_DIR / "pets/search_1/trial_000"
    assert find_run(None, RUNS_DIR).folder == RUNS_DIR / "pets/search_1/trial_000"
