"""`litnets sync`: upload the offline W&B runs in run folders with wandb's own command. Does not import torch.

litnets sync checkpoints/digits_mlp/<run>
"""

import os
import stat
import subprocess
import sys
from pathlib import Path

from litnets.errors import InputError
from litnets.tracking.wandb_login import logged_in, service

HELP = """\
usage: litnets sync RUN...

Upload the Weights & Biases runs that were recorded offline. RUN is a run folder, such as checkpoints/digits_mlp/<run>.
Runs that were uploaded before are skipped.
"""


def sync(args: list[str]) -> int:
    """Upload offline runs and return the exit code of `wandb sync`.

    Args:
        args: Run folders.

    Raises:
        InputError: A folder holds no offline run, or the user is not logged in.
    """
    if not args or args[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if args else 2
    folders = [folder for run in args for folder in offline_runs(Path(run))]
    if not logged_in():
        raise InputError(f"sync: not logged in to W&B at {service()}; run `wandb login`, or set WANDB_API_KEY")
    # All attempts of a run share one id, so wandb has to upload them in the order in which they started.
    cache = str(folders[0].parent / "files")
    environment = {"WANDB_DATA_DIR": cache, "WANDB_CACHE_DIR": cache} | dict(os.environ)
    command = [sys.executable, "-m", "wandb", "sync", *map(str, folders)]
    return subprocess.run(command, env=environment, check=False).returncode


def offline_runs(run: Path) -> list[Path]:
    """Return wandb's folders of a run's offline attempts, the earliest first.

    Raises:
        InputError: The run has no offline attempt.
    """
    try:
        is_folder = stat.S_ISDIR(run.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:  # such as a name that is too long; Path.is_dir of some Python versions hides it
        raise InputError(f"sync {run}: {error.strerror}") from error
    folders = sorted((run / "wandb").glob("offline-run-*"))
    if not folders:
        problem = "it holds no offline W&B run" if is_folder else "no such folder"
        raise InputError(f"sync {run}: {problem}; expected the folder of a run with `--wandb.mode offline`")
    return folders
