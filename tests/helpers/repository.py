"""A copy of this repository, for tests that change its files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="copies what git lists, and there is no git here")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of the repository, with the package of that copy."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, *args)


def copy_repository(folder: Path) -> Path:
    """Create a git repository in `folder` with the files of this one, including uncommitted changes."""
    files = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "-q"), ("add", "--all"), (*identity, "commit", "-q", "-m", "Copy the repository")):
        assert run(folder, "git", *command).returncode == 0
    return folder
