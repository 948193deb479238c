"""Find a run: by its folder, by its experiment, or the newest one."""

from pathlib import Path

from litnets.errors import InputError
from litnets.runs.folder import Run


def find_run(where: str | None, runs_dir: Path) -> Run:
    """Return the run in a folder.

    Args:
        where: A run folder; an experiment's folder or name, for its newest run; None for the newest run of all.
        runs_dir: The folder of the experiments.

    Raises:
        InputError: There is no such folder, or no run in it.
    """
    root = runs_dir if where is None else Path(where)
    if where is not None and not root.is_dir() and (runs_dir / where).is_dir():
        root = runs_dir / where
    if not root.is_dir():
        raise InputError(f"resume: there is no folder {root}; expected the folder of a run or of an experiment")
    run = Run(root)
    if run.config.exists() and (run.environment.exists() or run.last.exists()):
        return run
    runs = [found for config in root.rglob("config.yaml") if (found := Run.from_config(config)) is not None]
    if not runs:
        raise InputError(f"resume: there is no run in {root}; `litnets fit --config FILE` starts one")
    return max(runs, key=lambda run: run.environment.stat().st_mtime_ns)
