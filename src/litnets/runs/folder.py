"""The run folder: the single source of truth for file names.

checkpoints/<experiment>/<run>/
    config.yaml         the resolved configuration; pass it to `litnets fit --config` to repeat the run
    config_2.yaml ...   the same, for each time that the run was resumed
    split.npz           the split of each sample, with a fingerprint of its name and content
    columns.csv         the columns of a table, and how each is encoded
    environment.json    versions, code, hardware, command line and seed of each attempt
    best.ckpt           the checkpoint with the best monitored metric
    last.ckpt           the newest checkpoint
    epochs/             with `--keep_epochs`: the weights after some epochs; in `epoch_0.ckpt`, the initial weights
    metrics.csv         the logged metrics, one row per step
    tensorboard/        the same as TensorBoard events
    distributions.csv   with `--histograms true`; see `litnets.runs.distributions`
    results.json        the final results
    predictions.csv     after `litnets predict`
    predictions/        the masks and overlays of the predicted images, for segmentation
    test_predictions.parquet, val_predictions.parquet
                        what the best checkpoint predicted for each sample; see `litnets.runs.recorded_predictions`
    data.json           statistics of the data; see `litnets.data.core.data_card`
    inputs.parquet      a few inputs, and those that were predicted worst; see `litnets.runs.stored_inputs`
    baselines.json      test metrics of simple methods on the same data; see `litnets.analysis.baselines`
    calibration.json    the temperature and the prediction intervals of the best checkpoint
    report.html         the report on the run; see `litnets.analysis.report`
    model_card.md       its summary in Markdown
    export/             after `litnets export`: the network for other programs, and what was checked
    explain/            after `litnets explain`: pictures, tables, and explain.json, which lists them

A command locks the folder while it writes into it (`Run.lock`). It does not write through symbolic links in the folder.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from litnets.errors import InputError
from litnets.runs.environment import command_line
from litnets.runs.lock import RunLock
from litnets.runs.storage import JsonType, check_types, damaged, read_json, write_json, write_text
from litnets.safety.files import is_regular

# The folders that loggers write into. wandb's links in them, such as `latest-run`, are allowed, because they point into
# the run folder.
_LOG_FOLDERS = ("tensorboard", "wandb")

_EPOCHS = "epochs"  # the folder with the weights of epochs

_SCORES: JsonType = {"*?": "number"}  # NaN and infinity are null
_RESULTS: JsonType = {
    "best?": {"monitor": "string", "score?": "number", "epoch": "number"},
    "test?": _SCORES,
    **{f"test_per_{part}?": {"*": _SCORES} for part in ("class", "target", "channel")},
    "calibration?": {
        "temperature?": "number",
        "before?": {"*": "number"},
        "after?": {"*": "number"},
        "coverage?": "number",
        "coverage_interval?": ("number", "number"),
        "mean_set_size?": "number",
    },
    **dict.fromkeys(("epochs?", "steps?", "seconds?", "samples_per_second?", "parameters?"), "number"),
}


class Run:
    """A run folder and the names of the files in it.

    Args:
        folder: The run folder, which need not exist yet.

    Example:
        >>> Run(Path("checkpoints/digits_mlp/2026-01-02_12-00-00")).best.name
        'best.ckpt'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._created_folders: list[Path] = []  # the innermost first
        self._lock: RunLock | None = None
        self._attempt: Path | None = None  # the configuration that `add_attempt` wrote

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the lock, which stays with this process if the run is passed to another one."""
        return {**self.__dict__, "_lock": None}

    @classmethod
    def new(cls, root: Path, experiment: str, claim: bool = True, prefix: str = "") -> "Run":
        """Return the next run of an experiment, which is named after the current time.

        Args:
            root: The folder of the experiments.
            experiment: The name of the experiment, a folder inside `root`.
            claim: Whether to create the run folder, so that no other process that starts in the same second gets it.
            prefix: The start of the folder's name, before the time.

        Raises:
            InputError: The experiment's name is not allowed, or the folder cannot be created.
        """
        check_experiment(experiment)
        start = prefix + datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for suffix in range(1000):
            run = cls(root / experiment / (f"{start}_{suffix}" if suffix else start))
            if not claim or run.create_folder():
                return run
        raise InputError(f"{root / experiment} has a thousand runs that started in this second")

    def create_folder(self) -> bool:
        """Create the folder; return False if it already exists."""
        folder = self.folder
        try:
            created = [path for path in (folder, folder.parent, folder.parent.parent) if not path.exists()]
            folder.mkdir(parents=True)
        except (OSError, ValueError) as error:  # ValueError: a null byte
            if isinstance(error, FileExistsError) and folder.is_dir():
                return False
            raise InputError(f"the run folder {folder} cannot be created: {error}") from error
        self._created_folders = created
        return True

    @classmethod
    def requeued(cls, root: Path, experiment: str) -> "Run | None":
        """Return the run that this SLURM job created before it was requeued, or None if there is no such run.

        A requeued job has the same command line and `SLURM_JOB_ID` as before, and a `SLURM_RESTART_COUNT`. The command
        line is compared because one job may train several networks in turn.
        """
        job = os.environ.get("SLURM_JOB_ID")
        if job is None or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
            return None
        check_experiment(experiment)
        for folder in sorted((root / experiment).glob("*/"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            run = cls(folder)
            if is_regular(run.environment):
                environment = read_json(run.environment)
                if environment.get("slurm_job_id") == job and environment.get("command") == command_line():
                    return run
        return None

    @classmethod
    def from_config(cls, config: Path) -> "Run | None":
        """Return the run that a config.yaml belongs to, or None if it is not in a run folder."""
        run = cls(config.parent)
        is_config = config.name.startswith("config") and config.suffix == ".yaml"
        return run if is_config and run.environment.exists() else None

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> "Run | None":
        """Return the run that a checkpoint belongs to, or None if it is not in a run folder."""
        folder = checkpoint.parent
        folders = [folder, folder.parent] if folder.name == _EPOCHS else [folder]
        return next((run for run in map(cls, folders) if run.environment.exists()), None)

    # Files

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def configs(self) -> list[Path]:
        """The configuration of each attempt, the first attempt first."""
        later = self._later_configs()
        return [self.config, *(later[number] for number in sorted(later))]

    def _later_configs(self) -> dict[int, Path]:
        matches = {path: re.fullmatch(r"config_([0-9]{1,9})\.yaml", path.name) for path in self.folder.glob("config_*")}
        return {int(match[1]): path for path, match in matches.items() if match}

    @property
    def environment(self) -> Path:
        return self.folder / "environment.json"

    @property
    def split(self) -> Path:
        return self.folder / "split.npz"

    @property
    def columns(self) -> Path:
        return self.folder / "columns.csv"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def kept_epoch(self, epoch: int) -> Path:
        """Return the file with the weights after an epoch; epoch 0 has the initial weights."""
        return self.folder / _EPOCHS / f"epoch_{epoch}.ckpt"

    def kept_epochs(self) -> dict[int, Path]:
        """Return the files with the weights of the kept epochs, by the number of the epoch, in ascending order."""
        paths = self.folder.glob(f"{_EPOCHS}/epoch_*.ckpt")
        matches = {path: re.fullmatch(r"epoch_([0-9]{1,9})\.ckpt", path.name) for path in paths}
        return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))

    def checkpoints(self) -> list[Path]:
        """Return all checkpoints in the folder, the newest first."""
        return sorted(self.folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def distributions(self) -> Path:
        return self.folder / "distributions.csv"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.csv"

    def recorded_predictions(self, part: str) -> Path:
        """Return the file with the tested checkpoint's predictions for the split `test` or `val`."""
        return self.folder / f"{part}_predictions.parquet"

    @property
    def data(self) -> Path:
        return self.folder / "data.json"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs.parquet"

    @property
    def baselines(self) -> Path:
        return self.folder / "baselines.json"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def model_card(self) -> Path:
        return self.folder / "model_card.md"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def explanation(self) -> Path:
        return self.folder / "explain"

    # Writing

    def lock(self) -> None:
        """Make this process the only one that writes into the folder, until `unlock` or the end of the command.

        Raises:
            InputError: Another process holds the lock, or a link in the folder would redirect what is written.
        """
        if self._lock is None or not self._lock.is_held:
            for link in self._refused_links():
                raise InputError(f"{link} is a link, which is not followed for writing; remove it")
            lock = RunLock(self.folder)
            lock.acquire()
            self._lock = lock
            for path in self.folder.glob(".*.part"):  # the temporary files of killed processes
                if re.search(r"\.[0-9a-f]{8}\.part$", path.name) and (path.is_symlink() or not path.is_dir()):
                    path.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Release the lock; do nothing if this process does not hold it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _refused_links(self) -> Iterator[Path]:
        """Yield the links through which a logger would write.

        Every other file is replaced when it is written, which does not follow a link.
        """
        yield from (path for path in (self.metrics, self.folder / _EPOCHS) if path.is_symlink())
        inside = self.folder.resolve()
        for name in _LOG_FOLDERS:
            top = self.folder / name
            if top.is_symlink():
                yield top
            for folder, folders, names in os.walk(top):
                # The folder of an earlier attempt, `run-<time>-<id>`, may contain links to the user's files. wandb does
                # not write into it again.
                folders[:] = [name for name in folders if not re.match(r"(offline-)?run-", name)]
                paths = (Path(folder, name) for name in (*folders, *names))
                yield from (path for path in paths if path.is_symlink() and not _resolves_into(path, inside))

    def add_attempt(self, config: str, environment: Mapping[str, Any]) -> None:
        """Record that the run is started or resumed.

        Args:
            config: The resolved configuration as YAML. It is written to config.yaml, or to config_2.yaml, config_3.yaml
                and so on if the run is resumed.
            environment: What else the attempt depends on. environment.json describes the first attempt, and lists every
                attempt under `attempts`.
        """
        attempts = []
        path = self.config
        if self.environment.exists():
            attempts = self._attempts()
            number = 1 + max(len(attempts), *self._later_configs(), 1)
            path = self.folder / f"config_{number}.yaml"
        attempts.append({**environment, "config": path.name})
        write_text(path, config)
        self._attempt = path
        write_json(self.environment, {**attempts[0], "attempts": attempts})

    def withdraw_attempt(self) -> None:
        """Undo `add_attempt`, for a resumed run that failed before its first step."""
        if self._attempt is None:
            return
        attempts = self._attempts()
        if attempts[-1]["config"] == self._attempt.name:
            attempts.pop()
            write_json(self.environment, {**attempts[0], "attempts": attempts})
        self._attempt.unlink(missing_ok=True)
        self._attempt = None

    def _attempts(self) -> list[dict[str, Any]]:
        attempts = read_json(self.environment).get("attempts")
        if not isinstance(attempts, list) or not attempts or not all(isinstance(one, dict) for one in attempts):
            raise damaged(self.environment, "expected `attempts` to be a list of objects")
        return attempts

    def write(self, path: Path, text: str) -> None:
        """Write a file of this run atomically."""
        write_text(path, text)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write an object into a JSON file of this run atomically."""
        write_json(path, content)

    def read_results(self) -> dict[str, Any]:
        """Return results.json, or an empty dict if it does not exist yet.

        Raises:
            InputError: The file is damaged.
        """
        results = read_json(self.results) if self.results.exists() else {}
        check_types(self.results, results, _RESULTS)
        return results

    def update_results(self, forget: Sequence[str] = (), **content: Any) -> dict[str, Any]:
        """Add entries to results.json, remove the entries to `forget`, and return the result."""
        results = {name: value for name, value in self.read_results().items() if name not in forget} | content
        write_json(self.results, results)
        return results

    # Removal

    def discard(self) -> None:
        """Remove the folder and everything in it, if `new` created it."""
        if self.folder in self._created_folders:
            shutil.rmtree(self.folder, ignore_errors=True)  # does not follow links
            self.discard_if_empty()

    def discard_if_empty(self) -> None:
        """Release the lock, and remove the folders that `new` created if they are empty, the innermost first."""
        self.unlock()
        for folder in self._created_folders:
            if not folder.is_dir():
                continue
            if any(folder.iterdir()):
                return
            folder.rmdir()


def check_experiment(name: str) -> None:
    """Raise InputError unless the name of an experiment is a relative path that stays inside the folder of the runs."""
    path = Path(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or not name.isprintable():
        raise InputError(
            f"experiment: expected a folder name, got {name!r}; --runs_dir sets the folder of all experiments"
        )


def _resolves_into(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links (Python 3.11 and 3.12)
        return False
