"""A search with a training that is a formula, killed at every step."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.safety.plain import dump_yaml, load_yaml
from litnets.tuning.jobs import FinishedJob
from litnets.tuning.search import Search, Settings, search_trials, train_final_runs
from litnets.tuning.search_results import summarize_search, write_search
from litnets.tuning.space import read_space
from litnets.tuning.trials import Trial, Trials

pytest.importorskip("optuna")
FOLDER = Path("search")
EPOCHS = 9
SPACE = read_space(["lr=log(1e-4,1e-1)", "size=[4, 8]"])
SETTINGS = Settings(["--x=1"], SPACE, "val/accuracy", "max", [1, 3, EPOCHS], trials=12)


class Killed(BaseException):
    """Stands for kill -9."""


class Training:
    """A training whose score depends on the options, the seed and the number of epochs.

    Args:
        fails: Whether the options make it fail.
    """

    def __init__(self, fails: Callable[[dict[str, str]], bool] = lambda options: False) -> None:
        self.fails = fails
        self.epochs: list[tuple[str, int]] = []  # of every call

    def __call__(self, options: list[str], run: Run, resumes: bool) -> None:
        run.folder.mkdir(exist_ok=True)
        options = [*(load_yaml("", run.config.read_text())["options"] if resumes else []), *options]
        named = dict(option.removeprefix("--").split("=", 1) for option in options)
        if self.fails(named):
            raise InputError("training: the loss is not finite")
        stop = named.get("stop_after_epoch", "null")
        epochs = EPOCHS if stop == "null" else int(stop)
        self.epochs.append((run.folder.name, epochs))
        run.config.write_text(dump_yaml({"options": options, "seed_everything": int(named["seed_everything"])}))
        run.last.touch()
        distance = abs(float(named["lr"]) - 0.01) + int(named["seed_everything"]) % 7 / 1000
        score = 1 - distance - 1 / (epochs + int(named["size"]))
        test = {"test": {"accuracy": score - 0.1, "auroc": math.nan}} if named["test_after_fit"] == "true" else {}
        run.update_results(best={"monitor": "val/accuracy", "score": score, "epoch": epochs}, epochs=epochs, **test)


def run_search(training: Callable[..., None], settings: Settings = SETTINGS) -> tuple[Trial, list[Trial]]:
    FOLDER.mkdir(exist_ok=True)
    trials = Trials(FOLDER, settings.space, settings.mode)
    winner = search_trials(FOLDER, settings, trials, training, check=list)
    return winner, trials.read()


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch, training: Training) -> Callable[..., None]:
    """Count the steps that change a file, and kill the search after one of them."""
    steps: Iterator[int] = iter(range(1, 10_000))

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = function(*args)
            if next(steps) == count:
                raise Killed
            return result

        return call

    for name in ("add", "report", "finish", "stop", "fail"):
        monkeypatch.setattr(Trials, name, counted(getattr(Trials, name)))
    return counted(training)


def test_halving_trains_the_best_for_longer_and_no_epoch_twice() -> None:
    training = Training()
    winner, trials = run_search(training)
    assert len(trials) == 12
    assert {trial.state for trial in trials} == {"finished", "stopped"}
    assert winner.scores[EPOCHS] == max(trial.scores[EPOCHS] for trial in trials if EPOCHS in trial.scores)
    assert sum(3 in trial.scores for trial in trials) >= 4
    assert sum(EPOCHS in trial.scores for trial in trials) < 4
    assert len(training.epochs) == len(set(training.epochs)), "each rung of a trial was trained once"
    assert [trial.seed for trial in trials] == list(range(42, 54))
    assert run_search(training)[0] == winner, "a finished search is not repeated"
    assert len(training.epochs) == len(set(training.epochs))


@pytest.mark.parametrize("count", [1, 2, 3, 12, 20])
def test_a_killed_search_continues_as_if_it_had_not_been(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(options: dict[str, str]) -> bool:
        return float(options["lr"]) < 4e-4

    settings = replace(SETTINGS, trials=6, sampler="random")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        run_search(killed_after(count, patched, Training(fails)), settings)
    continued = run_search(Training(fails), settings)
    FOLDER.rename("killed")
    assert continued == run_search(Training(fails), settings)


def test_lower_scores_are_better_with_mode_min() -> None:
    settings = Settings(SETTINGS.options, SPACE, "val/loss", "min", [EPOCHS], "random", trials=6)
    winner, trials = run_search(Training(), settings)
    assert winner.scores[EPOCHS] == min(trial.scores[EPOCHS] for trial in trials)


def test_no_training_starts_after_the_budget() -> None:
    settings = Settings(SETTINGS.options, SPACE, "val/accuracy", "max", [1, EPOCHS], trials=12, budget=0.0)
    with pytest.raises(InputError, match="no trial has a validation score; give a larger --budget"):
        run_search(Training(), settings)


def test_a_search_ends_if_the_first_trials_fail() -> None:
    with pytest.raises(InputError, match=r"first 3 trials failed, .* not finite; see search/trial_002.log"):
        run_search(Training(fails=lambda options: True))


def test_the_next_best_takes_the_place_of_a_trial_that_fails_later() -> None:
    settings = replace(SETTINGS, trials=3, sampler="random")
    best, _ = run_search(Training(), settings)
    FOLDER.rename("without_failures")

    def fails(options: dict[str, str]) -> bool:
        return options["seed_everything"] == str(best.seed) and options["stop_after_epoch"] != "1"

    winner, trials = run_search(Training(fails), settings)
    assert trials[best.number].state == "failed"
    assert winner.number != best.number
    assert EPOCHS in winner.scores


def test_a_trial_without_a_finite_score_fails() -> None:
    def train(options: list[str], run: Run, resumes: bool) -> None:
        run.folder.mkdir()
        run.update_results(best={"monitor": "val/accuracy", "score": math.nan, "epoch": 1})

    with pytest.raises(InputError, match="no validation score"):
        run_search(train)


def test_a_trial_whose_process_is_killed_is_trained_once_more() -> None:
    FOLDER.mkdir()
    trials = Trials(FOLDER, SPACE, "max")
    search = Search(SETTINGS, trials)
    for state in ("training", "failed"):
        job = search.ask()
        assert job is not None
        assert job.name == "trial_000"
        search.tell(FinishedJob(job, Run(FOLDER / job.name), "its process was killed by SIGKILL", was_killed=True))
        assert trials.read()[0].state == state


def test_nothing_is_trained_after_a_failed_check_until_the_search_continues() -> None:
    FOLDER.mkdir()
    settings = replace(SETTINGS, trials=6, sampler="random")
    training, trials = Training(), Trials(FOLDER, SPACE, "max")

    def check() -> None:
        if len(training.epochs) == 2:
            raise InputError("a configuration changed")

    with pytest.raises(InputError, match="a configuration changed"):
        search_trials(FOLDER, settings, trials, training, check)
    assert len(training.epochs) == 2
    continued = run_search(training, settings)
    FOLDER.rename("interrupted")
    assert continued == run_search(Training(), settings)


def test_results(capsys: pytest.CaptureFixture[str]) -> None:
    winner, trials = run_search(Training(fails=lambda options: options["seed_everything"] == "43"))
    store = Trials(FOLDER, SETTINGS.space, "max")
    final = train_final_runs(FOLDER, SETTINGS, winner, Training(), check=list)
    assert [job.job.name for job in final] == ["final_seed_10042", "final_seed_10043", "final_seed_10044"]
    results = summarize_search(FOLDER, SETTINGS, store, winner, final)
    scores = results["final"]["validation"]["values"]
    assert results["final"]["test"]["accuracy"]["mean"] == pytest.approx(sum(scores) / 3 - 0.1)
    assert results["final"]["test"]["auroc"] == {"mean": None, "std": None, "values": [None] * 3}
    assert results["optimism"] == pytest.approx(results["winner"]["score"] - sum(scores) / 3)
    assert results["failed"] == 1
    assert results["epochs_trained"] < 0.6 * results["epochs_without_halving"] == 0.6 * 12 * EPOCHS
    files = write_search(FOLDER, SETTINGS, trials, results)
    assert all((FOLDER / name).stat().st_size for name in files)
    rows = (FOLDER / "trials.csv").read_text().splitlines()
    assert rows[0].startswith("trial,run,state,epochs,seed,lr,size,val/accuracy at 1")
    assert rows[2].startswith("1,trial_001,failed,0,43,")
    best = (FOLDER / "best.yaml").read_text()
    assert best.startswith("# The best of 12 trials")
    assert load_yaml("", best)["seed_everything"] == 42
    assert "trial_001 failed: training: the loss is not finite" in capsys.readouterr().out
