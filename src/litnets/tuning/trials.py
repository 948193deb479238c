"""The trials of a search, in an Optuna study, and the values that are tried next.

A trial is added to the study in one step, with its values, before its run starts. It stays in the state RUNNING until
it is finished, stopped or failed. The values are a function of the seed and of the scores so far, so a search that was
killed resumes as if it had never stopped. The study is a journal file in the folder of the search, or is in a database
that several machines share.
"""

import itertools
import socket
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from litnets.errors import InputError
from litnets.internals import trial_id
from litnets.safety.escaping import without_passwords
from litnets.tuning.space import Parameter

_HEARTBEAT = 60  # seconds between two heartbeats of a machine
GRACE_PERIOD = 600  # seconds without a heartbeat after which the trials of a machine are given up
_STALE = f"its machine sent no heartbeat for {GRACE_PERIOD // 60} minutes"

State = Literal["training", "finished", "stopped", "failed"]
Sampler = Literal["tpe", "random", "grid"]


@dataclass(frozen=True)
class Trial:
    """A trial of a search.

    Args:
        number: Its number in the study.
        name: The name of its run folder.
        params: The value of each parameter.
        scores: The validation score by the number of epochs, for each rung that it has reached.
        state: `training` until it is finished, stopped by successive halving, or failed.
        seed: The seed of its training.
        is_local: Whether its run is in the folder of this search, not in that of another machine.
        error: Why it failed.
    """

    number: int
    name: str
    params: Mapping[str, Any]
    scores: Mapping[int, float] = field(default_factory=dict)
    state: State = "training"
    seed: int = 0
    is_local: bool = True
    error: str | None = None


class Trials:
    """The trials of a search, stored in an Optuna study.

    Args:
        folder: The folder of the search.
        space: The parameters.
        mode: Whether lower (`min`) or higher (`max`) scores are better.
        storage: URL of a database for several machines; None for a journal file in the folder.
        study: Name of the study in the database; None for the name of the folder.

    Raises:
        InputError: Optuna is not installed, or the storage cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        space: Sequence[Parameter],
        mode: Literal["min", "max"],
        storage: str | None = None,
        study: str | None = None,
    ) -> None:
        self._optuna = _import_optuna()
        self._space = space
        self._direction = "minimize" if mode == "min" else "maximize"
        # In a database, host and folder tell which machine owns a trial. A folder with its own journal may be moved.
        self._owner = "" if storage is None else f"{socket.gethostname()}:{folder.resolve()}"
        try:
            self._storage = self._open_journal(folder / "trials.journal") if storage is None else self._connect(storage)
            self._study = self._optuna.create_study(
                study_name=study or ("search" if storage is None else folder.name),
                storage=self._storage,
                sampler=self._optuna.samplers.RandomSampler(0),  # never used: `propose` chooses the values
                direction=self._direction,
                load_if_exists=True,
            )
        except _storage_errors() as error:
            name = folder if storage is None else without_passwords(storage)
            raise InputError(f"search: the storage {name} cannot be used: {error}") from error

    def _connect(self, storage: str) -> Any:
        with self._experimental():
            return self._optuna.storages.RDBStorage(storage, heartbeat_interval=_HEARTBEAT, grace_period=GRACE_PERIOD)

    @contextmanager
    def _experimental(self) -> Iterator[None]:
        """Hide the warning that Optuna's heartbeat is experimental, as it has been since version 2.9."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            yield

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """While the body runs, tell the other machines that share the database that this one is alive."""
        if not self._owner:
            yield
            return
        self.record_heartbeats()
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_HEARTBEAT):
            with suppress(*_storage_errors()):  # if the database stays unavailable, the search itself fails
                self.record_heartbeats()

    def record_heartbeats(self) -> None:
        """Record that the trials of this machine are alive."""
        for frozen in self._study.get_trials(deepcopy=False, states=[self._optuna.trial.TrialState.RUNNING]):
            if self._trial(frozen).is_local:
                self._storage.record_heartbeat(trial_id(frozen))

    def give_up_stale(self) -> int:
        """Mark the trials of other machines without a heartbeat as failed, and return their number."""
        before = sum(trial.state == "failed" for trial in self.read())
        if self._owner:
            with self._experimental():
                self._optuna.storages.fail_stale_trials(self._study)
        return sum(trial.state == "failed" for trial in self.read()) - before

    def _open_journal(self, path: Path) -> Any:
        if path.exists():
            _remove_incomplete_line(path)
        # Optuna's own locks are files, which outlive a killed process.
        lock: Any = FileLock(path.with_name(f".{path.name}.lock"))
        backend = self._optuna.storages.journal.JournalFileBackend(str(path), lock)
        return self._optuna.storages.JournalStorage(backend)

    def read(self) -> list[Trial]:
        """Return all trials, the oldest first."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def _trial(self, frozen: Any) -> Trial:
        states: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}
        attributes = frozen.user_attrs
        return Trial(
            int(frozen.number),
            str(attributes.get("run", f"trial_{frozen.number:03}")),
            dict(frozen.params),
            dict(sorted(frozen.intermediate_values.items())),
            states.get(frozen.state.name, "training"),
            int(attributes.get("seed", 0)),
            attributes.get("owner", "") == self._owner,
            attributes.get("error", _STALE if frozen.state.name == "FAIL" else None),
        )

    def add(self, params: Mapping[str, Any], name: str, seed: int) -> None:
        """Add a trial whose run starts now."""
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=self._optuna.trial.TrialState.RUNNING,
                params=dict(params),
                distributions=self._distributions(),
                user_attrs={"run": name, "seed": seed, "owner": self._owner},
            )
        )
        if self._owner:
            self.record_heartbeats()

    def report(self, trial: Trial, epochs: int, score: float) -> None:
        """Store the score that a trial has reached."""
        self._handle(trial).report(score, epochs)

    def finish(self, trial: Trial, score: float) -> None:
        """Store the final score of a trial that was trained to the end."""
        self._study.tell(trial.number, score)

    def stop(self, trial: Trial) -> None:
        """Store that successive halving has stopped a trial."""
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, trial: Trial, error: str) -> None:
        """Store why a trial failed."""
        self._handle(trial).set_user_attr("error", error)
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Store the settings of the study, or compare them with those that it was started with.

        Raises:
            InputError: The study was started with other settings.
        """
        stored = self._study.user_attrs.get("settings")
        if stored is None:
            self._study.set_user_attr("settings", dict(settings))
            return
        changed = [name for name in settings if settings[name] != stored.get(name)]
        if changed:
            name = changed[0]
            raise InputError(
                f"search: the study was started with {name} {stored.get(name)}, not {settings[name]}; give another "
                "--study for another search"
            )

    @property
    def seconds(self) -> float:
        """How long this machine has worked on the search."""
        return float(self._study.user_attrs.get(f"seconds {self._owner}".strip(), 0.0))

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._study.set_user_attr(f"seconds {self._owner}".strip(), value)

    def _handle(self, trial: Trial) -> Any:
        stored = self._study.get_trials(deepcopy=False)[trial.number]
        return self._optuna.trial.Trial(self._study, trial_id(stored))

    # Values

    def propose(self, trials: Sequence[Trial], sampler: Sampler, seed: int, index: int) -> dict[str, Any] | None:
        """Return the values of the next trial; None if a grid has no further ones.

        Args:
            trials: All trials so far.
            sampler: How to choose. `tpe` samples the first ten trials at random.
            seed: The seed of the search.
            index: The number of trials that this machine has started.
        """
        if sampler == "grid":
            tried = [trial.params for trial in trials]
            return next((point for point in grid(self._space, seed) if point not in tried), None)
        trial_seed = np.random.SeedSequence([seed, index, zlib.crc32(self._owner.encode())]).generate_state(1)[0]
        samplers = self._optuna.samplers
        chosen = samplers.TPESampler(seed=trial_seed) if sampler == "tpe" else samplers.RandomSampler(seed=trial_seed)
        study = self._optuna.create_study(sampler=chosen, direction=self._direction)
        study.add_trials([self._as_observed(trial) for trial in trials])
        sampled = study.ask(self._distributions()).params
        return {parameter.name: parameter.round(sampled[parameter.name]) for parameter in self._space}

    def _as_observed(self, trial: Trial) -> Any:
        """Return a trial as the sampler should see it.

        An unfinished trial with a score counts as pruned, so that the sampler uses the score. A failed trial counts as
        pruned without a score, which makes it the worst.
        """
        states = self._optuna.trial.TrialState
        state = states.PRUNED if trial.scores or trial.state == "failed" else states.RUNNING
        value = None
        if trial.state == "finished":
            state, value = states.COMPLETE, list(trial.scores.values())[-1]
        return self._optuna.trial.create_trial(
            state=state,
            value=value,
            params=dict(trial.params),
            distributions=self._distributions(),
            intermediate_values={} if trial.state == "failed" else dict(trial.scores),
        )

    def _distributions(self) -> dict[str, Any]:
        return {parameter.name: _distribution(self._optuna, parameter) for parameter in self._space}

    def importance(self, trials: Sequence[Trial]) -> tuple[dict[str, float], int, int]:
        """Return the fraction of the variance of the scores that each parameter explains (fANOVA).

        All scores are those after the same number of epochs, the largest that at least half of the trials have reached.

        Returns:
            The importance by parameter, the largest first, the number of trials, and the number of epochs. There are
            no importances if fewer than four trials, or no two different scores, can be compared.
        """
        reached = Counter(epochs for trial in trials for epochs in trial.scores)
        epochs = max((epochs for epochs, count in reached.items() if 2 * count >= len(trials)), default=0)
        compared = [trial for trial in trials if epochs in trial.scores]
        if len(compared) < 4 or len({trial.scores[epochs] for trial in compared}) < 2:
            return {}, len(compared), epochs
        study = self._optuna.create_study(direction=self._direction)
        for trial in compared:
            params, value = dict(trial.params), trial.scores[epochs]
            study.add_trial(
                self._optuna.trial.create_trial(params=params, distributions=self._distributions(), value=value)
            )
        evaluator = self._optuna.importance.FanovaImportanceEvaluator(seed=0)
        importances = self._optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {name: float(value) for name, value in importances.items()}, len(compared), epochs


def grid(space: Sequence[Parameter], seed: int) -> list[dict[str, Any]]:
    """Return all combinations of values, in a random order, so that the first ones already cover the space.

    Raises:
        InputError: A parameter is continuous.
    """
    choices = []
    for parameter in space:
        if parameter.grid is None:
            raise InputError(f"--sampler grid: {parameter.name} is {parameter}; expected a list of values or int(1, 4)")
        choices.append([int(value) if parameter.is_integer else value for value in parameter.grid])
    points = [dict(zip([one.name for one in space], values, strict=True)) for values in itertools.product(*choices)]
    return [points[index] for index in np.random.default_rng(seed).permutation(len(points))]


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    if parameter.values:
        return optuna.distributions.CategoricalDistribution(parameter.values)
    if parameter.is_integer:
        return optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high), log=parameter.is_log)
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("search needs Optuna: pip install 'litnets[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _storage_errors() -> tuple[type[Exception], ...]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError  # a dependency of Optuna

    return ImportError, ValueError, OSError, StorageInternalError, SQLAlchemyError


def _remove_incomplete_line(path: Path) -> None:
    """Remove the last line of a journal if the process or the machine stopped while writing it."""
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if complete != content:
        with path.open("r+b") as file:
            file.truncate(len(complete))
