from pathlib import Path

import pytest

from litnets.cli.in_process import train_in_folder
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import RunLock

OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--recipe", "false", "--trainer.max_epochs"]


@pytest.mark.slow
def test_a_run_is_trained_in_its_folder_and_resumed_there() -> None:
    parent = Path("checkpoints", "iris_mlp", "cv")
    parent.mkdir(parents=True)
    lock = RunLock(parent)
    lock.acquire()
    run = Run(parent / "fold_0")
    train_in_folder([*OPTIONS, "1"], run, resumes=False)
    train_in_folder(["--trainer.max_epochs", "2"], run, resumes=True)
    assert lock.is_held, "only the locks of the command are released"
    lock.release()
    assert run.read_results()["epochs"] == 2
    assert [path.name for path in run.configs] == ["config.yaml", "config_2.yaml"]
    with pytest.raises(InputError, match="fold_0 already exists"):
        train_in_folder([*OPTIONS, "1"], run, resumes=False)
    assert run.read_results()["epochs"] == 2
