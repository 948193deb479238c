"""Find a run: by its folder, by its experiment, by one of its files, or the newest one."""

from pathlib import Path

from litnets.errors import InputError, did_you_mean
from litnets.runs.folder import Run


def find_run(where: str | None, runs_dir: Path) -> Run:
    """Return the run that `where` names.

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
        experiments = [folder.name for folder in runs_dir.glob("*/")] if where is not None else []
        hint = did_you_mean(root.name, experiments)
        raise InputError(f"there is no folder {root}; expected that of a run or of an experiment{hint}")
    run = Run(root)
    if run.config.exists() and (run.environment.exists() or run.last.exists()):
        return run
    runs = [found for config in root.rglob("config.yaml") if (found := Run.from_config(config)) is not None]
    if not runs:
        raise InputError(f"there is no run in {root}; `litnets fit --config FILE` starts one")
    return max(runs, key=lambda run: run.environment.stat().st_mtime_ns)


def find_run_of_file(path: Path) -> Run:
    """Return the run in whose folder a checkpoint or a config.yaml is.

    Raises:
        InputError: It is not in a run folder.
    """
    run = Run.from_config(path) if path.suffix == ".yaml" else Run.from_checkpoint(path)
    if run is None:
        if path.suffix == ".yaml":
            hint = "give it with --config"
        elif path.suffix == ".ckpt":
            hint = "give it with --ckpt_path, and its configuration with --config"
        else:
            hint = "give the run first, then new data: `predict RUN NEW`, `test RUN --on NEW`"
        raise InputError(f"{path} is not in a run folder; {hint}")
    return run
