"""Find a run: by its folder, its experiment, or the newest."""

from pathlib import Path

from litnets.errors import InputError
from litnets.runs.folder import Run


def find_run(where: str | None, runs_dir: Path) -> Run:
    """The run of a folder: a run's own, the newest of an experiment's, or without one the newest of all.

    Raises:
        InputError: There is none.
    """
    root = runs_dir if where is None else Path(where)
    if where is not None and not root.is_dir() and (runs_dir / where).is_dir():
        root = runs_dir / where  # an experiment by its name
    if not root.is_dir():
        raise InputError(f"resume: there is no folder {root}; give a run's folder, or that of an experiment")
    own = Run(root)
    if own.config.exists() and (own.environment.exists() or own.last.exists()):
        return own
    runs = [run for config in root.rglob("config.yaml") if (run := Run.from_config(config)) is not None]
    if not runs:
        raise InputError(f"resume: there is no run in {root}; `litnets fit --config FILE` makes one")
    return max(runs, key=lambda run: run.environment.stat().st_mtime_ns)
