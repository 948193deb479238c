"""Resolving the run and the checkpoint that a command uses."""

import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace

from litnets.cli.resolve_run import ResolvedRun, check_config_files, check_runs_dir, fill_in_defaults, resolve_run
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.lock import RunInUseError
from litnets.training.resume import loop_state
from tests.safety.test_files import make_special

CONFIG = "trainer:\n  max_epochs: 3\n"


class ConfigPath:
    """A stand-in for the object in which jsonargparse stores the path of a `--config`."""

    def __init__(self, relative: Path) -> None:
        self.relative = str(relative)


def options(*configs: Path, **overrides: object) -> Namespace:
    """Return the options that are relevant here, as parsed."""
    trainer = Namespace(fast_dev_run=False, max_epochs=3, max_steps=-1, precision="32-true", logger=None)
    values = {
        "config": [ConfigPath(path) for path in configs],
        "experiment": "digits",
        "runs_dir": "checkpoints",
        "init_from": None,
        "test_after_fit": False,
        "wandb": Namespace(mode="off"),
        "early_stopping": Namespace(patience=10, monitor="val/loss", check_on_train_epoch_end=None),
    }
    return Namespace(**values | overrides, trainer=trainer)


def interrupted_run(folder: Path) -> Run:
    """Create a run that was interrupted in its second epoch."""
    run = Run(folder)
    folder.mkdir(parents=True)
    run.add_attempt(CONFIG, {})
    state = {
        "epoch": 1,
        "batch": 4,
        "logged_step": 14,
        "config": CONFIG,
        "ranks": [],
        "csv": {},
        "callback_metrics": {},
    }
    content = {"state_dict": {}, "global_step": 14, "callbacks": {}, loop_state.KEY: state}
    for path in (run.best, run.last):
        torch.save(content, path)
    return run


def test_a_new_run_has_neither_folder_nor_checkpoint_yet() -> None:
    assert resolve_run("fit", options(), CONFIG, None) == ResolvedRun(CONFIG)


def test_the_run_of_a_config_is_evaluated_with_its_best_checkpoint() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    resolved = resolve_run("test", options(run.config), CONFIG, None)
    assert resolved.run is not None
    assert (resolved.run.folder, resolved.checkpoint, resolved.resume) == (run.folder, run.best, None)
    assert resolved.checkpoint_content is not None
    assert resolved.checkpoint_content["global_step"] == 14


def test_a_checkpoint_path_identifies_its_run() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    resolved = resolve_run("predict", options(), CONFIG, str(run.last))
    assert resolved.run is not None
    assert (resolved.run.folder, resolved.checkpoint) == (run.folder, run.last)


@pytest.mark.parametrize("ckpt_path", [None, "last"])
def test_a_resumed_run_continues_from_its_last_checkpoint(ckpt_path: str | None) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    new_config = "trainer:\n  max_epochs: 5\n"
    resolved = resolve_run("fit", options(run.config), new_config, ckpt_path, run)
    assert (resolved.run, resolved.checkpoint) == (run, run.last)
    assert resolved.resume is not None
    assert resolved.resume.position == (1, 4)
    assert resolved.resume.changes == {"trainer.max_epochs": (3, 5)}


def test_fit_from_the_last_checkpoint_of_a_config_resumes() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    resolved = resolve_run("fit", options(run.config), CONFIG, "last")
    assert resolved.run is not None
    assert resolved.run.folder == run.folder
    assert resolved.resume is not None


def test_a_run_without_a_checkpoint_is_not_resumed() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    run.last.unlink()
    run.best.unlink()
    new_run = f"start a new run: litnets fit --config {run.config}"
    with pytest.raises(InputError, match=f"^{run.folder} has no checkpoint to resume from; {new_run}$"):
        resolve_run("fit", options(run.config), CONFIG, None, run)


def test_a_run_with_only_a_best_checkpoint_resumes_from_it() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    run.last.unlink()
    assert resolve_run("fit", options(run.config), CONFIG, None, run).checkpoint == run.best


def test_a_finished_run_without_its_last_checkpoint_is_not_resumed() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    run.last.unlink()
    run.update_results(epochs=3)
    new_run = f"litnets fit --config {run.config} --init_from {run.best}"
    with pytest.raises(InputError, match=f"has no last.ckpt to resume from, only best.ckpt; .*: {new_run}$"):
        resolve_run("fit", options(run.config), CONFIG, None, run)


@pytest.mark.parametrize(("saved", "position"), [([], (0, 0)), (["best.ckpt"], (1, 4))])
def test_a_requeued_job_resumes_its_run(
    saved: list[str], position: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    for checkpoint in run.checkpoints():
        if checkpoint.name not in saved:
            checkpoint.unlink()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    command = shlex.join(sys.argv)
    run.write_json(run.environment, {"slurm_job_id": "7", "command": command, "attempts": [{}]})
    resolved = resolve_run("fit", options(), CONFIG, None)
    assert resolved.run is not None
    assert resolved.run.folder == run.folder
    assert resolved.resume is not None
    assert resolved.resume.position == position


@pytest.mark.parametrize("command", ["resume", "predict", "fit --ckpt_path last"])
def test_a_command_that_writes_to_a_locked_run_raises(command: str) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    Run(run.folder).lock()
    name = "predict" if command == "predict" else "fit"
    ckpt_path = "last" if command == "fit --ckpt_path last" else None
    with pytest.raises(RunInUseError):
        resolve_run(name, options(run.config), CONFIG, ckpt_path, run if command == "resume" else None)


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_command_that_only_reads_a_run_needs_no_lock(command: str) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    Run(run.folder).lock()
    assert resolve_run(command, options(run.config), CONFIG, None).checkpoint == run.best


RUNS_DIRS = [("/etc", False), ("..", False), ("a/../../b", False), ("checkpoints", True), ("elsewhere/deep", True)]


@pytest.mark.parametrize(("runs_dir", "allowed"), RUNS_DIRS)
def test_the_config_of_a_run_cannot_set_runs_dir_outside(runs_dir: str, allowed: bool) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    config = options(run.config, runs_dir=runs_dir)
    if allowed:
        check_runs_dir(config, ["fit", "--config", str(run.config)])
    else:
        with pytest.raises(InputError, match=f"sets runs_dir to {runs_dir}, but the run is elsewhere; set --runs_dir"):
            check_runs_dir(config, ["fit", "--config", str(run.config)])
    for typed in (["--runs_dir", runs_dir], [f"--runs_dir={runs_dir}"]):
        check_runs_dir(config, ["fit", *typed])


def test_allowed_runs_dirs_for_a_new_run() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    check_runs_dir(options(run.config, runs_dir=str(Path("checkpoints").absolute())), [])
    Path("mine.yaml").touch()
    check_runs_dir(options(Path("mine.yaml"), runs_dir="/scratch"), [])


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
@pytest.mark.parametrize("joined", [False, True])
def test_the_config_of_a_run_must_be_a_regular_file(kind: str, joined: bool) -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    run.config.unlink()
    make_special(kind, run.config)
    args = [f"--config={run.config}"] if joined else ["--config", str(run.config)]
    with pytest.raises(InputError, match=f"^{run.config} is a {kind}; expected a regular file$"):
        check_config_files(["test", *args])


def test_a_config_outside_a_run_may_be_a_fifo() -> None:
    """Process substitution in the shell, `--config <(command)`, is a FIFO."""
    os.mkfifo("config.yaml")
    check_config_files(["fit", "--config", "config.yaml"])


def test_a_damaged_results_file_is_reported_before_training() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    run.results.write_text("[]")
    with pytest.raises(InputError, match=f"{run.results} is damaged"):
        resolve_run("fit", options(run.config), CONFIG, None, run)


def test_a_checkpoint_without_training_state_is_not_resumed() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    torch.save({"state_dict": {}}, run.last)
    with pytest.raises(InputError, match="holds no training state to resume from"):
        resolve_run("fit", options(run.config), CONFIG, None, run)


def test_only_a_new_run_accepts_init_from() -> None:
    run = interrupted_run(Path("checkpoints/digits/first"))
    assert resolve_run("fit", options(init_from="a.ckpt"), CONFIG, None).init_from == Path("a.ckpt")
    with pytest.raises(InputError, match="--init_from starts a new run"):
        resolve_run("test", options(run.config, init_from="a.ckpt"), CONFIG, None)
    run.write(run.config, "init_from: a.ckpt\n")  # a run that was started with --init_from
    assert resolve_run("test", options(run.config, init_from="a.ckpt"), CONFIG, None).init_from is None


def test_defaults_that_depend_on_other_options() -> None:
    config = options(Path("configs/digits_mlp.yaml"), experiment=None)
    config.early_stopping.monitor = "train/loss"
    config.trainer.precision, config.trainer.accelerator = "auto", "cpu"
    fill_in_defaults(config)
    assert config.experiment == "digits_mlp"
    assert config.early_stopping.check_on_train_epoch_end is True
    assert config.trainer.precision in ("bf16-mixed", "32-true")


@pytest.mark.parametrize("args", [["-c", "run/config.yaml"], ["-crun/config.yaml"], ["--config=run/config.yaml"]])
def test_a_configuration_that_is_a_fifo_is_refused_however_it_is_named(args: list[str]) -> None:
    Path("run").mkdir()
    Path("run/environment.json").write_text("{}")
    os.mkfifo("run/config.yaml")
    with pytest.raises(InputError, match=r"run/config\.yaml is a FIFO"):
        check_config_files(args)
