"""Commands on a run folder that is in use, damaged or tampered with."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from litnets.__main__ import main
from litnets.errors import InputError
from litnets.runs.folder import Run
from tests.conftest import CONFIGS, isolate
from tests.safety.test_files import make_special

FIT = ["fit", "--config", str(CONFIGS / "digits_mlp.yaml"), "--model.hidden_layer_sizes", "[4]"]
FIT += ["--test_after_fit", "false", "--trainer.max_epochs", "1"]
EPOCHS = ["--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def trained_run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch, which tests copy."""
    runs_dir = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, runs_dir)
        assert main(FIT) == 0
    (folder,) = runs_dir.glob("checkpoints/*/*")
    return folder


@pytest.fixture
def run(trained_run_folder: Path) -> Run:
    folder = Path("checkpoints/digits_mlp/a_run")
    shutil.copytree(trained_run_folder, folder)
    return Run(folder)


def file_contents(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    line, *more = capsys.readouterr().err.splitlines()
    assert not more
    return line


def resume(run: Run, *options: str) -> int:
    return main(["resume", str(run.folder), *EPOCHS, *options])


@pytest.mark.parametrize("command", ["resume", "predict", "fit"])
def test_a_run_in_use_is_refused(run: Run, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = file_contents(run)
    owner = Run(run.folder)
    owner.lock()
    code = {
        "resume": lambda: resume(run),
        "predict": lambda: main(["predict", "--config", str(run.config)]),
        "fit": lambda: main(["fit", "--config", str(run.config), *EPOCHS, "--ckpt_path", "last"]),
    }[command]()
    assert code == 2
    line = only_line(capsys)
    assert line.startswith(f"litnets: {run.folder} is in use by `litnets")
    assert f"(process {os.getpid()} on " in line
    owner.unlock()
    assert file_contents(run) == before


class Interfere(Callback):
    """Check the lock, or remove the run folder, before the second epoch.

    Args:
        what: `lock` or `remove`.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(str(trainer.log_dir)).parent / Path(str(trainer.log_dir)).name
        if self.what == "lock":
            assert (folder / ".lock").exists()
        elif trainer.current_epoch == 1:
            shutil.rmtree(folder)


INTERFERE = ["--trainer.callbacks+", f"{__name__}.Interfere", "--trainer.callbacks.what"]


def test_a_finished_command_leaves_no_lock(run: Run) -> None:
    assert resume(run, *INTERFERE, "lock") == 0
    assert main(["predict", "--config", str(run.config)]) == 0
    assert not [path.name for path in run.folder.iterdir() if path.name.startswith(".")]
    assert run.predictions.exists()


def test_a_run_folder_that_is_deleted_during_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, *EPOCHS, "--trainer.max_epochs", "3", *INTERFERE, "remove"]) == 2
    assert "folder is gone" in capsys.readouterr().err
    (experiment,) = Path("checkpoints").iterdir()
    assert not list(experiment.iterdir()), "a part of the run folder was created again"


def test_a_file_size_limit_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    """TensorBoard's thread and the checkpoint reach the limit; metrics.csv and the configuration stay below it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        assert main([*FIT, "--histograms", "true", "--figures", "false"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    stderr = capfd.readouterr().err
    assert "File too large" in stderr
    assert "Traceback" not in stderr


REFUSED_OPTIONS = {
    "--data.init_args.val_size": ["--data.val_size", "0.3"],
    "another optimizer": ["--model.optimizer", "torch.optim.SGD"],
    "a monitor that is not logged": ["--monitor", "val/nonsense"],
    "a callback that raises an InputError": ["--trainer.callbacks+", f"{__name__}.RaiseInputError"],
}


class RaiseInputError(Callback):
    """Raise an InputError when training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise InputError("no")


@pytest.mark.parametrize("options", REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS)
def test_a_refused_resume_changes_nothing(run: Run, options: list[str]) -> None:
    before = file_contents(run)
    assert resume(run, *options) == 2
    after = file_contents(run)
    assert {name: after[name] for name in after if "tensorboard" not in name} == {
        name: before[name] for name in before if "tensorboard" not in name
    }
    assert resume(run) == 0


def test_a_resume_that_fails_during_training_is_recorded(run: Run) -> None:
    crash = [
        "--trainer.callbacks+",
        "tests.helpers.interrupting.InterruptAt",
        "--trainer.callbacks.hook",
        "on_train_batch_end",
    ]
    with pytest.raises(RuntimeError, match="crash"):
        resume(run, *crash, "--trainer.callbacks.count", "3")
    assert [path.name for path in run.configs] == ["config.yaml", "config_2.yaml"]


@pytest.mark.parametrize("name", ["results.json", "environment.json", "metrics.csv", "config.yaml"])
@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
def test_special_files_are_refused(run: Run, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.folder / name
    path.unlink()
    make_special(kind, path)
    assert resume(run) == 2
    assert str(path) in only_line(capsys)
    assert not (run.folder / "config_2.yaml").exists()


DAMAGE = [
    ("config.yaml", b"\0\0", "config: not valid YAML"),
    ("config.yaml", b"\xff\xfe", "config.yaml is damaged"),
    ("config.yaml", b"seed_everything: " + b"9" * 5000, "config: cannot be read"),
    ("config.yaml", b"[1, 2]", "config: "),
    ("environment.json", b'{"attempts": "abc"}', "environment.json is damaged"),
    ("environment.json", b'{"attempts": [1]}', "environment.json is damaged"),
    ("environment.json", b"[" * 100_000, "environment.json is damaged"),
    ("results.json", b"[]", "results.json is damaged"),
    ("results.json", b'{"test": ' + b"9" * 5000 + b"}", "results.json is damaged"),
    ("metrics.csv", b"epoch,loss\n1,2\n", "metrics.csv is damaged"),
    ("metrics.csv", b"\0" * 100, "metrics.csv is damaged"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damaged_files_are_refused(
    run: Run, name: str, damage: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.folder / name).write_bytes(damage)
    before = file_contents(run)
    assert resume(run) == 2
    assert message in only_line(capsys)
    after = file_contents(run)
    assert after.keys() - before.keys() == {file for file in after if "tfevents" in file and file not in before}
    assert after[str(run.folder / name)] == damage


@pytest.mark.parametrize("saved", [[], ["best.ckpt"]])
def test_a_run_without_its_last_checkpoint_is_left_unchanged(
    run: Run, saved: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for checkpoint in run.checkpoints():
        if checkpoint.name not in saved:
            checkpoint.unlink()
    before = file_contents(run)
    assert resume(run) == 2
    line = only_line(capsys)
    assert f"litnets fit --config {run.config}" in line
    assert ("--init_from" in line) == bool(saved)
    assert file_contents(run) == before


@pytest.mark.parametrize("experiment", ["../outside", "/tmp/outside", "a\0b", ".."])
def test_an_experiment_outside_runs_dir_is_refused(
    run: Run, experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.yaml").write_text(f"experiment: {json.dumps(experiment)}\n")
    Path("mine.yaml").write_text(run.config.read_text())
    assert main(["fit", "--config", "mine.yaml", "--config", "other.yaml"]) == 2
    assert "experiment: expected a folder name" in only_line(capsys)


def test_a_tampered_config_cannot_set_runs_dir(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = run.config.read_text().replace("runs_dir: checkpoints", f"runs_dir: {Path('victim').absolute()}")
    run.config.write_text(text)
    assert main(["fit", "--config", str(run.config)]) == 2
    assert "its configuration sets runs_dir" in only_line(capsys)
    assert not Path("victim").exists()
    assert main(["fit", "--config", str(run.config), "--runs_dir", "mine"]) == 0
    assert list(Path("mine").iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "metrics.csv", "wandb"])
def test_symlinks_where_loggers_write_are_refused(run: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, victim = run.folder / name, Path("victim")
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    victim.mkdir()
    path.symlink_to(victim.absolute())
    assert resume(run) == 2
    assert only_line(capsys) == f"litnets: {path} is a link, which is not followed for writing; remove it"
    assert not list(victim.iterdir())
