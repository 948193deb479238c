"""`litnets sync RUN...`: send the offline W&B runs of runs' folders, by wandb's own command. Imports no torch."""

import os
import subprocess
import sys
from pathlib import Path

from litnets.errors import InputError

HELP = """\
usage: litnets sync RUN...

Send what runs kept for Weights & Biases while offline. RUN is a run's folder, such as checkpoints/digits_mlp/<run>.
What was sent before is not sent again.
"""


def sync(args: list[str]) -> int:
    """Run the command; the exit code is that of `wandb sync`."""
    if not args or args[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if args else 2
    try:
        kept = [folder for run in args for folder in offline_runs(Path(run))]
    except InputError as error:
        print(f"litnets: {error}", file=sys.stderr)
        return 2
    # The runs of one folder have one id; wandb sends them one after the other, in the order of their start.
    places = {"WANDB_DATA_DIR": str(kept[0].parent / "files"), "WANDB_CACHE_DIR": str(kept[0].parent / "files")}
    command = [sys.executable, "-m", "wandb", "sync", *map(str, kept)]
    return subprocess.run(command, env=places | dict(os.environ), check=False).returncode


def offline_runs(run: Path) -> list[Path]:
    """wandb's folders of the offline attempts of a run, the first one first.

    Raises:
        InputError: There are none.
    """
    kept = sorted((run / "wandb").glob("offline-run-*"))
    if not kept:
        what = "no W&B run was kept offline in it" if run.is_dir() else "no such folder"
        raise InputError(f"sync {run}: {what}; expected a run's folder that `--wandb.mode offline` wrote into")
    return kept
