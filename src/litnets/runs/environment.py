"""Describe what a run depends on besides its configuration: versions, code, hardware, command line, seed."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from litnets.safety.escaping import without_passwords

PACKAGES = (
    "litnets",
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "jsonargparse",
    "numpy",
    "scikit-learn",
    "wandb",
)


def environment(seed: int | None) -> dict[str, Any]:
    """Return what a run depends on besides its configuration, as plain values for environment.json.

    Args:
        seed: The seed of the run.
    """
    import torch  # here, because it is slow: this module is also imported by commands that need no torch

    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(),
        "seed": seed,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))},
        "hardware": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def command_line() -> str:
    """Return the command line of this process, without the passwords of URLs."""
    return without_passwords(shlex.join(sys.argv))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*args: str) -> str | None:
    """Return the output of a git command in the folder of this package; None if that is not in a repository."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *args],
            cwd=Path(__file__).parent,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
