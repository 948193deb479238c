import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import torch

from litnets.errors import InputError
from litnets.runs.environment import PACKAGES, environment
from litnets.runs.folder import Run


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "experiment" / "a_run"
    folder.mkdir(parents=True)
    return Run(folder)


@pytest.fixture
def noon(monkeypatch):
    """Stop the clock that run folders are named after."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 12, 0, 0)

    monkeypatch.setattr("litnets.runs.folder.datetime", Noon)


@pytest.mark.usefixtures("noon")
def test_runs_started_in_the_same_second_get_different_folders(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: Run.new(tmp_path, "digits").folder, range(24)))
    expected = {"2026-01-02_12-00-00", *(f"2026-01-02_12-00-00_{i}" for i in range(1, 24))}
    assert {folder.name for folder in folders} == expected
    assert all(folder.is_dir() and folder.parent == tmp_path / "digits" for folder in folders)


@pytest.mark.usefixtures("noon")
def test_an_unclaimed_run_creates_no_folder(tmp_path):
    assert Run.new(tmp_path, "digits", claim=False).folder == tmp_path / "digits" / "2026-01-02_12-00-00"
    assert not any(tmp_path.iterdir())


def test_a_run_is_named_after_the_time_so_that_names_sort_by_age(tmp_path):
    assert datetime.strptime(Run.new(tmp_path, "digits").folder.name, "%Y-%m-%d_%H-%M-%S")


@pytest.mark.parametrize("taken", ["root", "root/digits"])
def test_a_file_in_place_of_a_folder_is_an_error_and_kept(tmp_path, taken):
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("here already")
    with pytest.raises(InputError, match=r"the run folder .* cannot be created"):
        Run.new(tmp_path / "root", "digits")
    assert path.read_text() == "here already"


def test_a_run_folder_that_cannot_be_created_is_an_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="cannot be created: no"):
        Run.new(tmp_path, "digits")


def test_a_run_is_found_from_its_config_or_checkpoint(run):
    run.write_json(run.environment, {})
    assert Run.from_config(run.config).folder == run.folder
    assert Run.from_checkpoint(run.best).folder == run.folder
    assert Run.from_checkpoint(run.folder / "epoch=3.ckpt").folder == run.folder
    assert Run.from_config(run.folder / "other.yaml") is None


def test_a_run_folder_may_be_called_epochs(run):
    run.write_json(run.environment, {})
    assert Run.from_checkpoint(run.kept_epoch(2)).folder == run.folder
    moved = Run(run.folder.with_name("epochs"))
    run.folder.rename(moved.folder)
    assert Run.from_checkpoint(moved.best).folder == moved.folder


def test_a_file_outside_a_run_folder_belongs_to_no_run(run):
    assert Run.from_config(run.config) is None
    assert Run.from_checkpoint(run.best) is None


def test_a_file_is_replaced_only_by_a_complete_one(run, monkeypatch):
    run.write(run.config, "old\n")
    new, replace, seen = "new\n" * 10_000, Path.replace, []

    def recording_replace(part, target):
        seen.append((target.read_text(), part.read_text(), part.parent))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", recording_replace)
    run.write(run.config, new)
    assert seen == [("old\n", new, run.folder)]
    assert run.config.read_text() == new
    assert [file.name for file in run.folder.iterdir()] == ["config.yaml"]


def test_a_failed_write_keeps_the_old_file(run):
    run.write(run.config, "old\n")
    with pytest.raises(UnicodeEncodeError):
        run.write(run.config, "new \ud800")
    assert run.config.read_text() == "old\n"


def test_files_are_readable_by_other_users(run):
    run.write(run.config, "x")
    assert run.config.stat().st_mode & 0o777 == 0o644


def test_updating_the_results_keeps_earlier_entries(run):
    assert run.read_results() == {}
    run.update_results(epochs=3, stop_reason="done")
    assert run.update_results(test={"f1": 1.0}, epochs=4) == {"epochs": 4, "stop_reason": "done", "test": {"f1": 1.0}}
    assert json.loads(run.results.read_text()) == run.read_results()
    assert run.results.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"test": "x"}', "test: expected object, got 'x'"),
        ('{"best": [1]}', "best: expected object, got '[1]'"),
        ('{"best": {"score": 1, "epoch": 1}}', "monitor: expected string, got 'None'"),
        ('{"test_per_class": {"cat": [0.5]}}', "cat: expected object, got '[0.5]'"),
        (
            '{"calibration": {"coverage": 0.9, "coverage_interval": [0.8]}}',
            "coverage_interval: expected list of 2, got",
        ),
        ('{"best": {"monitor": "val/loss", "score": "x", "epoch": 1}}', "score: expected number, got 'x'"),
        ('{"parameters": true}', "parameters: expected number, got 'True'"),
        ('{"epochs": {}}', "epochs: expected number, got '{}'"),
    ],
)
def test_results_of_other_types_are_damaged(run, content, problem):
    run.results.write_text(content)
    with pytest.raises(InputError) as error:
        run.read_results()
    assert str(error.value).startswith(f"{run.results} is damaged ({problem}")


def test_nan_in_a_file_reads_as_it_would_be_written(run):
    run.results.write_text('{"test": {"loss": NaN, "accuracy": 0.5}, "seconds": Infinity}')
    assert run.read_results() == {"test": {"loss": None, "accuracy": 0.5}, "seconds": None}


def test_nan_and_infinity_are_written_as_null(run):
    run.update_results(test={"auroc": float("nan"), "loss": 1.5}, scores=[float("inf"), 2], best=None)
    actual = json.loads(run.results.read_text(), parse_constant=pytest.fail)  # strict: JSON has no NaN
    assert actual == {"test": {"auroc": None, "loss": 1.5}, "scores": [None, 2], "best": None}


def test_an_empty_run_is_discarded_with_the_folders_made_for_it(tmp_path):
    run = Run.new(tmp_path / "checkpoints", "digits")
    for _ in range(2):
        run.discard_if_empty()
        assert not any(tmp_path.iterdir())


def test_discarding_a_run_keeps_folders_that_existed_before(tmp_path):
    Run.new(tmp_path, "digits").discard_if_empty()
    assert tmp_path.exists()
    assert not any(tmp_path.iterdir())


def test_only_the_empty_one_of_two_runs_is_discarded(tmp_path):
    used, empty = Run.new(tmp_path, "digits"), Run.new(tmp_path, "digits")
    used.write(used.config, "x")
    empty.discard_if_empty()
    used.discard_if_empty()
    assert [path.name for path in (tmp_path / "digits").iterdir()] == [used.folder.name]
    assert used.config.exists()


def test_all_files_of_a_run_have_different_names(run):
    names = ("config", "environment", "best", "last", "metrics", "results", "predictions")
    paths = [getattr(run, name) for name in names]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {run.folder}


def test_the_environment_records_command_versions_and_hardware(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["litnets", "fit", "a b", "db://ann:secret@host"])
    actual = environment(seed=7)
    assert actual["seed"] == 7
    assert actual["command"] == "litnets fit 'a b' db://ann:***@host"
    assert set(actual["versions"]) == set(PACKAGES)
    assert actual["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert actual["hardware"]["threads"] == torch.get_num_threads()
    assert len(actual["hardware"]["gpus"]) == torch.cuda.device_count()
    assert datetime.fromisoformat(actual["started"]).tzinfo is not None
    assert json.loads(json.dumps(actual)) == actual


def test_the_environment_is_recorded_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment(seed=None)["git"] == {"commit": None, "dirty": False}


def test_the_version_of_a_missing_package_is_none(monkeypatch):
    monkeypatch.setattr("litnets.runs.environment.PACKAGES", ("torch", "no-such-package"))
    assert environment(seed=0)["versions"]["no-such-package"] is None


# Attacks: names and links that would make a run write outside its folder


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/tmp/x", "", ".", "a\0b", "a\nb", "\x1b[31m"])
@pytest.mark.parametrize("claim", [True, False])
def test_an_experiment_cannot_lie_outside_the_folder_of_experiments(name, claim):
    with pytest.raises(InputError, match="experiment: expected a folder name, got "):
        Run.new(Path("checkpoints"), name, claim)
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", ["a" * 300, "a/" + "b" * 300])
def test_an_experiment_name_that_is_too_long_is_an_error(name):
    with pytest.raises(InputError, match="cannot be created"):
        Run.new(Path("checkpoints"), name)


def test_an_experiment_may_be_nested_and_have_any_printable_name():
    assert Run.new(Path("checkpoints"), "group/größe 3").folder.is_dir()


def test_a_null_byte_in_the_path_is_an_error():
    with pytest.raises(InputError, match="cannot be created"):
        Run.new(Path("a\0b"), "digits")


@pytest.mark.parametrize("name", ["../digits", "/tmp"])
def test_a_requeued_job_does_not_look_for_its_run_elsewhere(name, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(InputError, match="experiment: expected a folder name"):
        Run.requeued(Path("checkpoints"), name)


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "environment.json", "predictions.csv"])
@pytest.mark.parametrize("planted", ["{}", ".{}.part", ".{}.00000000.part"])
def test_writing_replaces_a_planted_link_instead_of_following_it(run, name, planted):
    victim = Path("victim")
    victim.write_text("mine")
    (run.folder / planted.format(name)).symlink_to(victim.absolute())
    run.lock()
    run.write(run.folder / name, "new")
    run.unlock()
    assert (victim.read_text(), (run.folder / name).read_text()) == ("mine", "new")
    assert not (run.folder / name).is_symlink()


LINKS = ["metrics.csv", "tensorboard", "tensorboard/hparams.yaml", "wandb", "wandb/run.json", "wandb/files"]


@pytest.mark.parametrize("name", [*LINKS, "wandb/files/artifacts", "tensorboard/a/b"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_run_with_a_link_where_loggers_write_is_refused(run, name, dangling):
    victim = Path("victim").absolute()
    if not dangling:
        victim.mkdir()
    link = run.folder / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    with pytest.raises(InputError) as error:
        run.lock()
    assert str(error.value) == f"{link} is a link, which is not followed for writing; remove it"
    assert not dangling or not victim.exists()


def test_links_that_wandb_makes_are_accepted(run):
    attempt = run.folder / "wandb" / "offline-run-20260102_120000-abc"
    attempt.mkdir(parents=True)
    (attempt.parent / "latest-run").symlink_to(attempt.name)
    (attempt / "saved-by-the-user").symlink_to("/etc/passwd")  # wandb never writes to an earlier attempt again
    run.lock()


def test_the_folder_of_a_run_or_experiment_may_be_a_link(run):
    Path("link").symlink_to(run.folder.parent.absolute())
    linked = Run(Path("link") / run.folder.name)
    linked.lock()
    linked.write(linked.config, "x")
    assert run.config.read_text() == "x"


def test_locking_removes_temporary_files_of_killed_processes(run):
    Path("victim").write_text("mine")
    (run.folder / ".results.json.0123abcd.part").write_text("half")
    (run.folder / ".last.ckpt.0123abcd.part").symlink_to(Path("victim").absolute())
    (run.folder / ".a.0123abcd.part").mkdir()
    (run.folder / ".mine.part").write_text("not ours")
    run.lock()
    assert Path("victim").read_text() == "mine"
    assert {path.name for path in run.folder.iterdir()} == {".a.0123abcd.part", ".mine.part", ".lock", ".owner.json"}


def test_only_a_run_folder_that_this_process_created_is_discarded(run):
    run.write(run.config, "x")
    run.discard()
    assert run.config.exists()
    new = Run.new(run.folder.parent.parent, "digits")
    new.write(new.config, "x")
    new.discard()
    assert not new.folder.parent.exists()


# Attempts


def test_a_withdrawn_attempt_leaves_the_run_as_it_was(run):
    run.add_attempt("first", {"seed": 1})
    before = {path.name: path.read_text() for path in run.folder.iterdir()}
    run.add_attempt("second", {"seed": 2})
    assert [path.name for path in run.configs] == ["config.yaml", "config_2.yaml"]
    run.withdraw_attempt()
    run.withdraw_attempt()
    assert {path.name: path.read_text() for path in run.folder.iterdir()} == before


def test_a_new_attempt_overwrites_no_configuration(run):
    run.add_attempt("first", {})
    for name in ("config_7.yaml", "config_².yaml", "config_99999999999999999999.yaml"):
        (run.folder / name).write_text("mine")  # environment.json lists none of them; only the first has a valid number
    run.add_attempt("second", {})
    assert [path.name for path in run.configs] == ["config.yaml", "config_7.yaml", "config_8.yaml"]


def test_a_spawned_process_gets_the_folder_without_the_lock(tmp_path: Path) -> None:
    run = Run.new(tmp_path, "digits")
    run.lock()
    copy = pickle.loads(pickle.dumps(run))  # as ddp_spawn does with the callbacks
    assert copy.folder == run.folder
    copy.unlock()
    with pytest.raises(InputError, match="is in use"):
        Run(run.folder).lock()
