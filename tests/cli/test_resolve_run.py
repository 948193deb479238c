"""Which run and which checkpoint a command works on."""

from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace

from litnets.cli.resolve_run import ResolvedRun, fill_in_defaults, resolve_run
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.training.resume import loop_state
from litnets.training.resume.plan import ResumePlan

CONFIG = "trainer:\n  max_epochs: 3\n"


class ConfigPath:
    """As jsonargparse keeps the path of a `--config`."""

    def __init__(self, relative: Path) -> None:
        self.relative = str(relative)


def options(*configs: Path, **changed: object) -> Namespace:
    """The options that matter here, as the parser returns them."""
    trainer = Namespace(fast_dev_run=False, max_epochs=3, max_steps=-1, precision="32-true")
    values = {
        "config": [ConfigPath(path) for path in configs],
        "experiment": "digits",
        "runs_dir": "checkpoints",
        "init_from": None,
        "test_after_fit": False,
        "early_stopping": Namespace(patience=10, monitor="val/loss", check_on_train_epoch_end=None),
    }
    return Namespace(**values | changed, trainer=trainer)


def finished_epoch(folder: Path) -> Run:
    """A run that was interrupted in its second epoch."""
    run = Run(folder)
    folder.mkdir(parents=True)
    run.add_attempt(CONFIG, {})
    state = {"epoch": 1, "batch": 4, "config": CONFIG}
    content = {"state_dict": {}, "global_step": 14, "callbacks": {}, loop_state.KEY: state}
    for path in (run.best, run.last):
        torch.save(content, path)
    return run


def test_a_new_run_has_neither_folder_nor_checkpoint_yet() -> None:
    assert resolve_run("fit", options(), CONFIG, None) == ResolvedRun()


def test_the_run_of_a_config_is_evaluated_with_its_best_checkpoint() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    resolved = resolve_run("test", options(run.config), CONFIG, None)
    assert resolved.run is not None
    assert (resolved.run.folder, resolved.checkpoint, resolved.resume) == (run.folder, run.best, None)
    assert resolved.checkpoint_content is not None
    assert resolved.checkpoint_content["global_step"] == 14


def test_a_checkpoint_alone_names_its_run() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    resolved = resolve_run("predict", options(), CONFIG, str(run.last))
    assert resolved.run is not None
    assert (resolved.run.folder, resolved.checkpoint) == (run.folder, run.last)


@pytest.mark.parametrize("ckpt_path", [None, "last"])
def test_a_resumed_run_continues_from_its_last_checkpoint(ckpt_path: str | None) -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    changed = "trainer:\n  max_epochs: 5\n"
    resolved = resolve_run("fit", options(run.config), changed, ckpt_path, run)
    assert (resolved.run, resolved.checkpoint) == (run, run.last)
    assert resolved.resume is not None
    assert resolved.resume.position == (1, 4)
    assert resolved.resume.changes == {"trainer.max_epochs": (3, 5)}


def test_fit_from_the_last_checkpoint_of_a_config_resumes() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    resolved = resolve_run("fit", options(run.config), CONFIG, "last")
    assert resolved.run is not None
    assert resolved.run.folder == run.folder
    assert resolved.resume is not None


def test_a_run_without_a_checkpoint_restarts() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    run.last.unlink()
    resolved = resolve_run("fit", options(run.config), CONFIG, None, run)
    assert resolved.checkpoint is None
    assert resolved.resume == ResumePlan()
    assert resolved.resume.position == (0, 0)


def test_a_checkpoint_without_training_state_is_not_resumed() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    torch.save({"state_dict": {}}, run.last)
    with pytest.raises(InputError, match="holds no training state to resume from"):
        resolve_run("fit", options(run.config), CONFIG, None, run)


def test_only_a_new_run_starts_with_other_weights() -> None:
    run = finished_epoch(Path("checkpoints/digits/first"))
    assert resolve_run("fit", options(init_from="a.ckpt"), CONFIG, None).init_from == Path("a.ckpt")
    with pytest.raises(InputError, match="--init_from starts a new run"):
        resolve_run("test", options(run.config, init_from="a.ckpt"), CONFIG, None)
    run.write(run.config, "init_from: a.ckpt\n")  # a run that began with them
    assert resolve_run("test", options(run.config, init_from="a.ckpt"), CONFIG, None).init_from is None


def test_defaults_that_depend_on_other_options() -> None:
    config = options(Path("configs/digits_mlp.yaml"), experiment=None)
    config.early_stopping.monitor = "train/loss"
    config.trainer.precision, config.trainer.accelerator = "auto", "cpu"
    fill_in_defaults(config)
    assert config.experiment == "digits_mlp"
    assert config.early_stopping.check_on_train_epoch_end is True
    assert config.trainer.precision in ("bf16-mixed", "32-true")
