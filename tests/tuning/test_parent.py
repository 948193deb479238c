from pathlib import Path

import pytest

from litnets.errors import InputError
from litnets.runs.lock import released_locks
from litnets.tuning.parent import discarded_if_refused, open_parent

COMMAND = {"options": ["--folds", "5"]}


def opened(kind: str = "cv", **command: object) -> Path:
    with released_locks():
        return open_parent(Path("checkpoints"), "iris_mlp", kind, {**COMMAND, **command})


def test_an_interrupted_command_continues_and_a_finished_one_starts_again() -> None:
    first = opened()
    assert first.parent == Path("checkpoints", "iris_mlp")
    assert first.name.startswith("cv_2")
    assert opened() == first
    assert len({first, opened(folds=3), opened("seeds")}) == 3
    (first / "cv.json").write_text("{}")
    second = opened()
    assert second != first
    assert opened() == second


def test_a_folder_that_was_killed_before_its_command_was_written_is_left_alone() -> None:
    empty = Path("checkpoints", "iris_mlp", "cv_2026-01-01_00-00-00")
    empty.mkdir(parents=True)
    assert opened() != empty


def test_the_same_command_cannot_run_twice_at_once() -> None:
    with released_locks():
        open_parent(Path("checkpoints"), "iris_mlp", "cv", COMMAND)
        with pytest.raises(InputError, match="is in use"):
            open_parent(Path("checkpoints"), "iris_mlp", "cv", COMMAND)


@pytest.mark.parametrize("runs_dir", ["checkpoints", "."])
def test_a_refused_command_leaves_no_folder(runs_dir: str) -> None:
    with released_locks():
        folder = open_parent(Path(runs_dir), "iris_mlp", "cv", COMMAND)
        with pytest.raises(InputError, match="an option is wrong"), discarded_if_refused(folder):
            raise InputError("an option is wrong")
    assert not list(Path.cwd().iterdir())
