"""The folder of a command that trains several runs.

checkpoints/<experiment>/cv_<time>/
    command.json        the options of the command, and the content of its configurations
    jobs.json           the jobs that are done
    fold_0/ ...         the runs
    fold_0.log ...      what each run printed
    cv.csv, cv.json     the results, which are written last

If the command is interrupted and then run again, it continues in the same folder.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from litnets.errors import InputError
from litnets.runs.find import COMMAND
from litnets.runs.folder import Run
from litnets.runs.lock import RunLock
from litnets.runs.storage import read_json, write_json


def open_parent(runs_dir: Path, experiment: str, kind: str, command: Mapping[str, Any]) -> Path:
    """Return the folder in which this command was interrupted, or a new one, and lock it.

    Args:
        runs_dir: The folder of the experiments.
        experiment: The name of the experiment.
        kind: The name of the command. The command has finished if the folder holds KIND.json, its results.
        command: What identifies the command: its options, and the content of the files that they name.

    Raises:
        InputError: The same command is running, or the folder cannot be written.
    """
    for folder in sorted((runs_dir / experiment).glob(f"{kind}_*/"), reverse=True):
        if is_unfinished(folder, kind, command):
            RunLock(folder).acquire()
            if is_unfinished(folder, kind, command):  # still, now that no other process works on it
                return folder
    folder = Run.new(runs_dir, experiment, prefix=f"{kind}_").folder
    RunLock(folder).acquire()
    write_json(folder / COMMAND, command)
    return folder


def is_unfinished(folder: Path, kind: str, command: Mapping[str, Any]) -> bool:
    """Return whether this command was started in the folder, and has not written its results."""
    path = folder / COMMAND
    return path.exists() and not (folder / f"{kind}.json").exists() and read_json(path) == command


@contextmanager
def discarded_if_refused(folder: Path) -> Iterator[None]:
    """Remove the folder of a command, and those above it that are then empty, if an InputError ends the body before any
    run has a folder."""
    try:
        yield
    except InputError:
        if not any(path.is_dir() for path in folder.iterdir()):
            shutil.rmtree(folder)
            with suppress(OSError):  # a folder that is not empty, or that cannot be removed, such as `.`
                folder.parent.rmdir()
                folder.parent.parent.rmdir()
        raise
