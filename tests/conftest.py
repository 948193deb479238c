import os
from pathlib import Path

import pytest
import torch

from litnets.cli import app

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, so that what it writes lies there, and without what another one left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LITNETS_DEBUG", raising=False)
    monkeypatch.setenv("WANDB_MODE", "disabled")  # nobody's account gets the tests' runs
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setattr(app, "find_spec", lambda name: None)  # figures, half a second of each test, are to be asked for
    torch.manual_seed(0)


def pytest_configure() -> None:
    """One thread a test process: the tests are tiny, and two of them run at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
