"""Fixtures of all tests. Torch is not imported, because the process that distributes the tests does not need it."""

import gc
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make the folder the working directory, and hide the settings of the user who runs the tests."""
    patch.chdir(folder)
    patch.delenv("LITNETS_DEBUG", raising=False)
    patch.setenv("WANDB_MODE", "disabled")  # no test may log to a real account
    patch.setenv("PL_GLOBAL_SEED", "0")
    patch.setattr("litnets.training.assemble.find_spec", lambda name: None)  # figures take half a second
    patch.setattr("litnets.cli.reporting.is_quick", lambda run: False)  # a fit writes no report unless asked to
    patch.setattr("litnets.analysis.baselines.MAX_SECONDS", 0)  # fitting takes a tenth of a second


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in its temporary folder, without the settings of the user who runs the tests."""
    import torch

    isolate(monkeypatch, tmp_path)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs, to be copied: `digits_run` is such a copy."""
    from litnets.__main__ import main

    folder = tmp_path_factory.mktemp("trained_digits")
    options = ["--model.hidden_layer_sizes", "[8]", "--trainer.max_epochs", "2"]
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        assert main(["fit", "--config", str(CONFIGS / "digits_mlp.yaml"), *options]) == 0
    (run,) = folder.glob("checkpoints/digits_mlp/*")
    return run


@pytest.fixture
def digits_run(trained_digits: Path) -> Path:
    """The folder of a finished run of `configs/digits_mlp.yaml`: eight hidden units, two epochs."""
    return Path(shutil.copytree(trained_digits, Path("checkpoints/digits_mlp", trained_digits.name)))


@pytest.fixture
def real_data() -> Path:
    """The folder with the real data sets, for slow tests; without LITNETS_TEST_DATA the test is skipped."""
    folder = os.environ.get("LITNETS_TEST_DATA")
    if not folder:
        pytest.skip("needs the real data sets; set LITNETS_TEST_DATA to their folder")
    return Path(folder)


def pytest_configure() -> None:
    """Use one thread per test process: the tests are tiny, and two processes run at once."""
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude what the tests import from garbage collection, which would otherwise take a quarter of a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """Let the process free what it imported when it exits: triton reports the rest as leaks."""
    gc.unfreeze()
