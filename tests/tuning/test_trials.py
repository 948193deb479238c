import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from litnets.errors import InputError
from litnets.tuning.space import read_space
from litnets.tuning.trials import Trial, Trials, grid

pytest.importorskip("optuna")
FOLDER = Path("search")
SPACE = read_space(["lr=log(1e-4,1e-1)", "size=[[4], [8]]"])


@pytest.fixture(autouse=True)
def _folder() -> None:
    FOLDER.mkdir()


def test_trials_are_read_back_by_another_process() -> None:
    trials = Trials(FOLDER, SPACE, "max")
    for name, lr in (("a", 0.01), ("b", 0.02), ("c", 0.03)):
        trials.add({"lr": lr, "size": "[4]"}, name, seed=7)
    first, second, third = trials.read()
    trials.report(first, 1, 0.5)
    trials.report(first, 3, 0.75)
    trials.finish(first, 0.75)
    trials.fail(second, "NaN")
    trials.seconds = 2.5
    again = Trials(FOLDER, SPACE, "max")
    assert again.seconds == 2.5
    assert again.read() == [
        Trial(0, "a", {"lr": 0.01, "size": "[4]"}, {1: 0.5, 3: 0.75}, "finished", 7),
        Trial(1, "b", {"lr": 0.02, "size": "[4]"}, {}, "failed", 7, error="NaN"),
        third,
    ]
    assert third.state == "training"


def test_values_depend_on_nothing_but_the_seed_and_the_scores() -> None:
    trials = Trials(FOLDER, SPACE, "max")
    observed = [
        Trial(number, f"{number}", {"lr": 10 ** -(1 + number / 5), "size": "[4]"}, {1: number / 15})
        for number in range(15)
    ]
    proposed = [trials.propose(observed, "tpe", seed, index=15) for seed in (0, 0, 1)]
    assert proposed[0] == proposed[1] != proposed[2]
    rates = [trials.propose(observed, "tpe", 0, index)["lr"] for index in range(15, 25)]  # type: ignore[index]
    assert sum(rate < 3e-3 for rate in rates) > 7, "small learning rates have the best scores"
    lowest = Trials(Path("search"), SPACE, "max").propose(observed, "random", 0, 15)
    assert lowest != proposed[0]


def test_a_grid_covers_all_values_once() -> None:
    space = read_space(["a=[x, y]", "b=int(1,3)"])
    points = grid(space, 0)
    assert sorted((point["a"], point["b"]) for point in points) == [(a, b) for a in "xy" for b in (1, 2, 3)]
    assert points != grid(space, 1)
    trials = Trials(FOLDER, space, "min")
    for index in range(6):
        params = trials.propose(trials.read(), "grid", 0, index)
        assert params == points[index]
        trials.add(params, f"{index}", 0)
    assert trials.propose(trials.read(), "grid", 0, 6) is None
    with pytest.raises(InputError, match=r"lr is log\(0.0001, 0.1\); expected a list"):
        grid(SPACE, 0)


def test_a_line_that_was_not_completed_is_removed() -> None:
    Trials(FOLDER, SPACE, "max").add({"lr": 0.01, "size": "[4]"}, "a", 0)
    journal = FOLDER / "trials.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"work')
    trials = Trials(FOLDER, SPACE, "max")
    trials.add({"lr": 0.01, "size": "[4]"}, "b", 0)
    assert [trial.name for trial in trials.read()] == ["a", "b"]
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_search_is_not_continued_with_other_settings() -> None:
    Trials(FOLDER, SPACE, "max").check_settings({"seed": 1, "rungs": [1, 3]})
    Trials(FOLDER, SPACE, "max").check_settings({"seed": 1, "rungs": [1, 3]})
    with pytest.raises(InputError, match=r"started with rungs \[1, 3\], not \[1, 9\]"):
        Trials(FOLDER, SPACE, "max").check_settings({"seed": 1, "rungs": [1, 9]})


@pytest.mark.slow
def test_machines_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    here, there = (Trials(tmp_path / name, SPACE, "max", url, "lr") for name in ("here", "there"))
    here.add({"lr": 0.01, "size": "[4]"}, "trial_000", 0)
    there.add({"lr": 0.02, "size": "[4]"}, "trial_000", 0)
    assert [trial.is_local for trial in here.read()] == [True, False]
    assert [trial.is_local for trial in there.read()] == [False, True]
    assert here.give_up_stale() == 0
    with sqlite3.connect(tmp_path / "trials.db") as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-11 minutes')")
    with here.heartbeat():
        assert here.give_up_stale() == 1
    assert [trial.state for trial in here.read()] == ["training", "failed"]
    assert here.read()[1].error == "its machine sent no heartbeat for 10 minutes"
    assert there.give_up_stale() == 0


def test_the_importance_compares_equally_long_trainings() -> None:
    trials = Trials(FOLDER, SPACE, "max")
    observed = [
        Trial(index, "", {"lr": 10 ** -(1 + index / 4), "size": ["[4]", "[8]"][index % 2]}, {1: index / 12})
        for index in range(12)
    ]
    observed[-1] = replace(observed[-1], scores={1: 1.0, 3: 0.5})
    importance, count, epochs = trials.importance(observed)
    assert (count, epochs) == (12, 1)
    assert importance["lr"] > 0.8
    assert trials.importance(observed[:3]) == ({}, 3, 1)


def test_errors_name_the_storage_or_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="storage nosql://x cannot be used"):
        Trials(FOLDER, SPACE, "max", "nosql://x")
    with pytest.raises(InputError, match=r"storage nosql://ann:\*\*\*@x/y cannot be used") as caught:
        Trials(FOLDER, SPACE, "max", "nosql://ann:se:cr@et@x/y")
    assert "se:cr" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'litnets\[search\]'"):
        Trials(FOLDER, SPACE, "max")
