"""The folder of a run: where everything of it is, and nothing else knows.

checkpoints/<experiment>/<run>/
    config.yaml         the resolved configuration; `litnets fit --config` on it repeats the run
    config_2.yaml ...   that of each time the run was gone on with
    environment.json    versions, code, hardware, command line, seed; of each attempt
    best.ckpt           the checkpoint with the best watched metric
    last.ckpt           the newest one
    metrics.csv         what was logged, one row a step
    tensorboard/        the same as TensorBoard's events
    results.json        the figures to report
    predictions.csv     after `litnets predict`
"""

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from litnets.errors import InputError


class Run:
    """One run's folder and the names of the files in it.

    Args:
        folder: The run's folder, there or not yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: list[Path] = []  # folders that were made for it, the innermost first

    @classmethod
    def new(cls, root: Path, experiment: str, claim: bool = True) -> "Run":
        """The next run of `experiment`, named by the time. `claim` makes its folder; of several processes that start
        in the same second each gets its own.

        Raises:
            InputError: The folder cannot be made.
        """
        start = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for attempt in range(1000):
            folder = root / experiment / (f"{start}_{attempt}" if attempt else start)
            if not claim:
                return cls(folder)
            run = cls(folder)
            run._made = [path for path in (folder, folder.parent, folder.parent.parent) if not path.exists()]
            try:
                folder.mkdir(parents=True)
                return run
            except FileExistsError as error:
                if not folder.is_dir():  # a part of the path is a file
                    raise InputError(f"the run's folder {folder} cannot be made: {error}") from error
            except OSError as error:
                raise InputError(f"the run's folder {folder} cannot be made: {error}") from error
        raise InputError(f"{root / experiment} has a thousand runs of this second")

    @classmethod
    def requeued(cls, root: Path, experiment: str) -> "Run | None":
        """The run that this job of SLURM has made before it was queued again, if it is such a job and has made one.

        A job queued again starts with the same command line, number (`SLURM_JOB_ID`) and `SLURM_RESTART_COUNT`. The
        command line is compared as well, because one job may train several networks one after the other.
        """
        job = os.environ.get("SLURM_JOB_ID")
        if job is None or int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0:
            return None
        for folder in sorted((root / experiment).glob("*/"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            run = cls(folder)
            if run.environment.exists():
                known = read_json(run.environment)
                if known.get("slurm_job_id") == job and known.get("command") == shlex.join(sys.argv):
                    return run
        return None

    @classmethod
    def from_config(cls, config: Path) -> "Run | None":
        """The run that this config.yaml belongs to, if it lies in a run's folder."""
        run = cls(config.parent)
        named = config.name.startswith("config") and config.suffix == ".yaml"
        return run if named and run.environment.exists() else None

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> "Run | None":
        """The run that this checkpoint belongs to, if it lies in a run's folder."""
        run = cls(checkpoint.parent)
        return run if run.environment.exists() else None

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def configs(self) -> list[Path]:
        """The configuration of each attempt, in their order."""
        later = {path.stem.removeprefix("config_"): path for path in self.folder.glob("config_*.yaml")}
        return [self.config, *(later[number] for number in sorted(filter(str.isdigit, later), key=int))]

    def add_attempt(self, config: str, environment: dict[str, Any]) -> None:
        """Write down what is about to be run: config.yaml, or config_2.yaml ... where the run is gone on with, and
        environment.json, which is that of the first attempt and lists them all."""
        attempts = []
        path = self.config
        if self.environment.exists():
            attempts = read_json(self.environment)["attempts"]
            path = self.folder / f"config_{len(attempts) + 1}.yaml"
        attempts.append(environment | {"config": path.name})
        self.write(path, config)
        self.write_json(self.environment, attempts[0] | {"attempts": attempts})

    @property
    def environment(self) -> Path:
        return self.folder / "environment.json"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def checkpoints(self) -> list[Path]:
        """All checkpoints in the folder, the newest first."""
        return sorted(self.folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.csv"

    def write(self, path: Path, text: str) -> None:
        """Write a file of this run whole or not at all."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        self.write(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def read_results(self) -> dict[str, Any]:
        """results.json, or nothing if it is not there yet."""
        return read_json(self.results) if self.results.exists() else {}

    def update_results(self, forget: Sequence[str] = (), **content: Any) -> dict[str, Any]:
        """Add to results.json, without the entries to forget; the whole of it."""
        results = {name: value for name, value in self.read_results().items() if name not in forget} | content
        self.write_json(self.results, results)
        return results

    def discard(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.discard_if_empty()

    def discard_if_empty(self) -> None:
        """Remove the folder that `new` has made if nothing was written into it, and those above it that were made for
        it if nothing else is in them."""
        for folder in self._made:
            if not folder.is_dir():
                continue
            if any(folder.iterdir()):
                return
            folder.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of a run.

    Raises:
        InputError: The file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # also one of its encoding
        raise InputError(f"{path} is damaged ({error}); put a good copy there, or delete it") from error


def _finite(value: Any) -> Any:
    """What JSON can say: it has no number for NaN and infinity, which become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
