"""Search hyperparameters: train trials, give the best ones more epochs, and train the winner again.

The folder of a search holds an ordinary run for each trial, `trial_000` and so on, and for each fresh seed of the
winner, `final_seed_10042` and so on. Trials are compared on the validation split alone; only the final runs read the
test split. If the search is killed, the same command resumes it: see `litnets.tuning.trials` and
`litnets.tuning.jobs`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from litnets.errors import InputError
from litnets.safety.escaping import printable
from litnets.tuning.halving import next_promotion
from litnets.tuning.jobs import FinishedJob, Job, Train, run_jobs
from litnets.tuning.space import Parameter
from litnets.tuning.trials import Sampler, Trial, Trials, grid

FIRST_FINAL_SEED = 10_000  # added to the seed of the search, so that the winner was not selected on these seeds
_TRIAL_OPTIONS = ("--test_after_fit=false", "--report=false", "--store_data=false")  # only the final runs need them
_MAX_FAILURES = 3  # the search ends if this many trials fail before any succeeds


@dataclass(frozen=True)
class Settings:
    """The settings of a search.

    Args:
        options: Options of `fit` that all trials have in common.
        space: The parameters to search.
        monitor: The validation metric that trials are compared by.
        mode: Whether lower (`min`) or higher (`max`) values of the metric are better.
        rungs: Numbers of epochs at which trials are compared; the last is that of a complete training.
        sampler: How the values of a trial are chosen.
        seed: Seed of the search. The seed of a trial is this plus its number on this machine, from 0.
        trials: Number of trials, on all machines together.
        budget: Seconds after which no new trial starts and none is promoted; None for no limit.
        num_workers: Number of trials to train at the same time.
        num_final_seeds: Number of fresh seeds to train the winner with.
    """

    options: Sequence[str]
    space: Sequence[Parameter]
    monitor: str
    mode: Literal["min", "max"]
    rungs: Sequence[int]
    sampler: Sampler = "tpe"
    seed: int = 42
    trials: int = 20
    budget: float | None = None
    num_workers: int = 1
    num_final_seeds: int = 3

    def values_of(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return the values of a trial as text, by option."""
        return {parameter.name: parameter.to_text(params[parameter.name]) for parameter in self.space}

    def shared(self) -> dict[str, Any]:
        """Return what must be the same on all machines that share a study."""
        return {
            "space": ", ".join(f"{parameter.name}={parameter}" for parameter in self.space),
            "rungs": list(self.rungs),
            "sampler": self.sampler,
            "seed": self.seed,
            "monitor": self.monitor,
        }

    def options_of(self, params: Mapping[str, Any]) -> list[str]:
        """Return the options of `fit` for the values of a trial."""
        return [f"--{name}={value}" for name, value in self.values_of(params).items()]

    def rank(self, score: float) -> float:
        """Return the score, negated if lower is better."""
        return score if self.mode == "max" else -score


class Search:
    """The state of a search: it chooses the next job from the trials so far, and stores their scores.

    Args:
        settings: The settings.
        trials: The trials.
    """

    def __init__(self, settings: Settings, trials: Trials) -> None:
        self.settings, self._trials = settings, trials
        self._training: dict[str, int] = {}  # the rung that each run in training is to reach
        self._retried: set[str] = set()
        self._started_at, self._earlier_seconds = time.monotonic(), trials.seconds
        # A search may be killed after it has stored the last score of a trial, and before it has finished the trial.
        for trial in trials.read():
            if trial.is_local and trial.state == "training" and settings.rungs[-1] in trial.scores:
                trials.finish(trial, trial.scores[settings.rungs[-1]])

    @property
    def seconds(self) -> float:
        """How long this machine has worked on the search."""
        return self._earlier_seconds + time.monotonic() - self._started_at

    def ask(self) -> Job | None:
        """Return the next job, or None if there is none at present."""
        trials = self._trials.read()
        for trial in trials:
            is_free = trial.is_local and trial.state == "training" and trial.name not in self._training
            if is_free and not trial.scores:  # the search was interrupted before the first score
                return self._start(trial, 0)
        if self.settings.budget is not None and self.seconds >= self.settings.budget:
            return None
        if (promoted := self._next_promotion(trials)) is not None:
            return self._start(promoted, len(promoted.scores))
        return self._start_new(trials)

    def _next_promotion(self, trials: Sequence[Trial]) -> Trial | None:
        rungs, rank = self.settings.rungs, self.settings.rank
        scores = {t.number: [rank(t.scores[rung]) for rung in rungs if rung in t.scores] for t in trials}
        for trial in trials:
            if trial.state == "failed":  # later than at the first rung; the next best takes its place
                scores[trial.number] = [-math.inf] * len(trial.scores)
        free = [t for t in trials if t.is_local and t.state == "training" and t.name not in self._training]
        number = next_promotion(
            scores, len(rungs), [trial.number for trial in free], not self._training and not self._may_start(trials)
        )
        return None if number is None else trials[number]

    def _may_start(self, trials: Sequence[Trial]) -> bool:
        return len(trials) < self._max_trials

    @property
    def _max_trials(self) -> int:
        size = len(grid(self.settings.space, 0)) if self.settings.sampler == "grid" else self.settings.trials
        return min(size, self.settings.trials)

    def _start_new(self, trials: Sequence[Trial]) -> Job | None:
        if not self._may_start(trials):
            return None
        index = sum(trial.is_local for trial in trials)
        params = self._trials.propose(trials, self.settings.sampler, self.settings.seed, index)
        if params is None:
            return None
        name = f"trial_{index:03}"
        self._trials.add(params, name, self.settings.seed + index)
        return self._start(self._find(name), 0)

    def _start(self, trial: Trial, rung: int) -> Job:
        self._training[trial.name] = rung
        is_last = rung == len(self.settings.rungs) - 1
        options = [*self.settings.options, *self.settings.options_of(trial.params)]
        return Job(
            trial.name,
            [*options, f"--seed_everything={trial.seed}", *_TRIAL_OPTIONS],
            [f"--stop_after_epoch={'null' if is_last else self.settings.rungs[rung]}"],
        )

    def tell(self, finished: FinishedJob) -> None:
        """Store the score of a job that has ended, and print it.

        Raises:
            InputError: The first trials have all failed.
        """
        trial, rung = self._find(finished.job.name), self._training.pop(finished.job.name)
        self._trials.seconds = round(self.seconds, 1)
        if trial.state != "training":  # another machine gave it up, because this one was asleep
            print(printable(f"{trial.name} is left out: {trial.error}"), flush=True)
            return
        if finished.was_killed and trial.name not in self._retried:
            self._retried.add(trial.name)
            return
        best = finished.run.read_results().get("best") if finished.error is None else None
        if best is None or best["score"] is None:  # no validation, or no finite score
            self._fail(trial, finished.error or "its run has no validation score", finished)
            return
        epochs, score = self.settings.rungs[rung], float(best["score"])
        self._trials.report(trial, epochs, score)
        if rung == len(self.settings.rungs) - 1:
            self._trials.finish(self._find(trial.name), score)
        values = " ".join(self.settings.options_of(trial.params))
        print(printable(f"{trial.name}, epoch {epochs}: {self.settings.monitor} {score:.4f}  {values}"), flush=True)

    def _fail(self, trial: Trial, error: str, finished: FinishedJob) -> None:
        self._trials.fail(trial, error)
        print(printable(f"{trial.name} failed: {error}"), flush=True)
        trials = self._trials.read()
        if (
            not any(other.scores for other in trials)
            and sum(other.state == "failed" for other in trials) >= _MAX_FAILURES
        ):
            log = finished.run.folder.with_name(f"{trial.name}.log")
            raise InputError(
                f"search: the first {_MAX_FAILURES} trials failed, the last one because: {error}; see {log}"
            )

    def _find(self, name: str) -> Trial:
        return next(trial for trial in self._trials.read() if trial.is_local and trial.name == name)

    def stop_others(self) -> None:
        """Mark the trials that were not promoted as stopped."""
        for trial in self._trials.read():
            if trial.is_local and trial.state == "training":
                self._trials.stop(trial)

    def winner(self) -> Trial | None:
        """Return the trial with the best score among those that were trained longest; None if none has a score.

        A trial that failed after its last score does not win.
        """
        trials = [trial for trial in self._trials.read() if trial.state != "failed"]
        for rung in reversed(self.settings.rungs):
            if reached := [trial for trial in trials if rung in trial.scores]:
                return max(reached, key=lambda trial: (self.settings.rank(trial.scores[rung]), -trial.number))
        return None


def search_trials(folder: Path, settings: Settings, trials: Trials, train: Train, check: Callable[[], object]) -> Trial:
    """Train all trials, and return the best one.

    Args:
        folder: The folder of the search.
        settings: The settings.
        trials: The trials so far.
        train: Trains one run.
        check: Called before each training. It raises an exception if the trials would not be comparable.

    Raises:
        InputError: No trial succeeded.
    """
    search = Search(settings, trials)

    def ask() -> Job | None:
        job = search.ask()
        if job is not None:
            check()
        return job

    run_jobs(folder, ask, search.tell, train, settings.num_workers)
    search.stop_others()
    winner = search.winner()
    if winner is None:
        if failed := [trial for trial in trials.read() if trial.state == "failed"]:
            raise InputError(f"search: all trials failed, the last one because: {failed[-1].error}")
        raise InputError("search: no trial has a validation score; give a larger --budget or more --trials")
    return winner


def train_final_runs(
    folder: Path, settings: Settings, winner: Trial, train: Train, check: Callable[[], object]
) -> list[FinishedJob]:
    """Train the winner again with fresh seeds, and test it; see `search_trials`.

    Raises:
        InputError: A run failed.
    """
    options = [*settings.options, *settings.options_of(winner.params), "--test_after_fit=true"]
    seeds = [settings.seed + FIRST_FINAL_SEED + index for index in range(settings.num_final_seeds)]
    jobs = iter([Job(f"final_seed_{seed}", [*options, f"--seed_everything={seed}"]) for seed in seeds])
    finished: list[FinishedJob] = []

    def ask() -> Job | None:
        job = next(jobs, None)
        if job is not None:
            check()
        return job

    def tell(job: FinishedJob) -> None:
        if job.error is not None:
            raise InputError(f"search: the final run {job.run.folder} failed: {job.error}")
        if job.run.read_results()["best"]["score"] is None:
            raise InputError(f"search: the final run {job.run.folder} has no finite {settings.monitor}")
        finished.append(job)

    run_jobs(folder, ask, tell, train, settings.num_workers)
    return sorted(finished, key=lambda job: job.job.name)
