"""Find a run: by its folder, by its experiment, by one of its files, or the newest one."""

from collections.abc import Iterable
from glob import glob
from pathlib import Path

from litnets.errors import InputError, did_you_mean
from litnets.runs.folder import Run

COMMAND = "command.json"  # the file that marks the folder of a `cv`, `seeds` or `search`, with the folders of its runs


def find_run(where: str | None, runs_dir: Path) -> Run:
    """Return the run that `where` names.

    Args:
        where: A run folder; the folder or name of an experiment, for its newest run; None for the newest run of all.
            The runs of a `cv`, `seeds` or `search` count for an experiment only if it has no others.
        runs_dir: The folder of the experiments.

    Raises:
        InputError: There is no such folder, or no run in it.
    """
    root = _find_folder(where, runs_dir)
    run = Run(root)
    if _is_run(run):
        return run
    runs = _runs_in(root)
    if where is not None:  # an experiment hardly stands for a trial that its search may have stopped early
        runs = [run for run in runs if not (run.folder.parent / COMMAND).exists()] or runs
    return max(runs, key=lambda run: run.environment.stat().st_mtime_ns)


def find_runs(names: Iterable[str], runs_dir: Path) -> list[Run]:
    """Return the runs that the names match, without duplicates.

    Args:
        names: Run folders; experiments, for all their runs; and patterns such as `digits_*` of either.
        runs_dir: The folder of the experiments.

    Raises:
        InputError: There is no such folder, or no run in it.
    """
    runs: dict[Path, Run] = {}
    for name in names:
        for folder in _matching_folders(name, runs_dir):
            matching = [Run(folder)] if _is_run(Run(folder)) else _runs_in(folder)
            runs |= {run.folder.resolve(): run for run in sorted(matching, key=lambda run: run.folder)}
    return list(runs.values())


def _matching_folders(name: str, runs_dir: Path) -> list[Path]:
    """Return the folder with a name, or the folders that match a pattern."""
    if not any(wildcard in name for wildcard in "*?["):
        return [_find_folder(name, runs_dir)]
    matches = glob(name) or glob(str(runs_dir / name))  # noqa: PTH207  (Path.glob refuses absolute patterns)
    folders = [path for path in sorted(map(Path, matches)) if path.is_dir()]
    if not folders:
        raise InputError(f"no run matches {name}")
    return folders


def _find_folder(where: str | None, runs_dir: Path) -> Path:
    root = runs_dir if where is None else Path(where)
    if where is not None and not root.is_dir() and (runs_dir / where).is_dir():
        root = runs_dir / where
    if not root.is_dir():
        experiments = [folder.name for folder in runs_dir.glob("*/")] if where is not None else []
        hint = did_you_mean(root.name, experiments)
        raise InputError(f"there is no folder {root}; expected the folder of a run or an experiment{hint}")
    return root


def _is_run(run: Run) -> bool:
    return run.config.exists() and (run.environment.exists() or run.last.exists())


def _runs_in(root: Path) -> list[Run]:
    runs = [run for config in root.rglob("config.yaml") if (run := Run.from_config(config)) is not None]
    if not runs:
        raise InputError(f"there is no run in {root}; `litnets fit --config FILE` starts one")
    return runs


def find_run_of_file(path: Path) -> Run:
    """Return the run whose folder contains a checkpoint or a config.yaml.

    Raises:
        InputError: The file is not in a run folder.
    """
    run = Run.from_config(path) if path.suffix == ".yaml" else Run.from_checkpoint(path)
    if run is None:
        if path.suffix == ".yaml":
            hint = "pass it with --config"
        elif path.suffix == ".ckpt":
            hint = "pass it with --ckpt_path, and its configuration with --config"
        else:
            hint = "give the run first, then new data: `predict RUN NEW`, `test RUN --on NEW`"
        raise InputError(f"{path} is not in a run folder; {hint}")
    return run
