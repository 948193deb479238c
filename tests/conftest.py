import os
from pathlib import Path

import pytest
import torch

from litnets.analysis import baselines
from litnets.cli import reporting
from litnets.training import assemble

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in its temporary folder, without the settings of the user who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LITNETS_DEBUG", raising=False)
    monkeypatch.setenv("WANDB_MODE", "disabled")  # no test may log to a real account
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setattr(assemble, "find_spec", lambda name: None)  # figures take half a second
    monkeypatch.setattr(reporting, "is_quick", lambda run: False)  # so that a fit writes no report unless asked to
    monkeypatch.setattr(baselines, "MAX_SECONDS", 0)  # fitting takes a tenth of a second
    torch.manual_seed(0)


@pytest.fixture
def real_data() -> Path:
    """The folder with the real data sets, for slow tests; without LITNETS_TEST_DATA the test is skipped."""
    folder = os.environ.get("LITNETS_TEST_DATA")
    if not folder:
        pytest.skip("needs the real data sets; set LITNETS_TEST_DATA to their folder")
    return Path(folder)


def pytest_configure() -> None:
    """Use one thread per test process: the tests are tiny, and two processes run at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
