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
    """Time stands still."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 12, 0, 0)

    monkeypatch.setattr("litnets.runs.folder.datetime", Noon)


@pytest.mark.usefixtures("noon")
def test_runs_of_one_second_have_their_own_folders(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: Run.new(tmp_path, "digits").folder, range(24)))
    expected = {"2026-01-02_12-00-00", *(f"2026-01-02_12-00-00_{i}" for i in range(1, 24))}
    assert {folder.name for folder in folders} == expected
    assert all(folder.is_dir() and folder.parent == tmp_path / "digits" for folder in folders)


@pytest.mark.usefixtures("noon")
def test_a_run_that_is_not_claimed_makes_no_folder(tmp_path):
    assert Run.new(tmp_path, "digits", claim=False).folder == tmp_path / "digits" / "2026-01-02_12-00-00"
    assert not any(tmp_path.iterdir())


def test_names_sort_by_time(tmp_path):
    assert datetime.strptime(Run.new(tmp_path, "digits").folder.name, "%Y-%m-%d_%H-%M-%S")


@pytest.mark.parametrize("taken", ["root", "root/digits"])
def test_a_file_in_the_way(tmp_path, taken):
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("here already")
    with pytest.raises(InputError, match=r"the run folder .* cannot be created"):
        Run.new(tmp_path / "root", "digits")
    assert path.read_text() == "here already"


def test_a_folder_that_may_not_be_made(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="cannot be created: no"):
        Run.new(tmp_path, "digits")


def test_the_run_of_a_file(run):
    run.write_json(run.environment, {})
    assert Run.from_config(run.config).folder == run.folder
    assert Run.from_checkpoint(run.best).folder == run.folder
    assert Run.from_checkpoint(run.folder / "epoch=3.ckpt").folder == run.folder
    assert Run.from_config(run.folder / "other.yaml") is None


def test_a_file_that_is_in_no_run(run):
    assert Run.from_config(run.config) is None
    assert Run.from_checkpoint(run.best) is None


def test_a_file_is_whole_at_any_time(run, monkeypatch):
    """Until the new one is complete beside it, the old one stays."""
    run.write(run.config, "old\n")
    new, replace, seen = "new\n" * 10_000, Path.replace, []

    def watched(part, target):
        seen.append((target.read_text(), part.read_text(), part.parent))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    run.write(run.config, new)
    assert seen == [("old\n", new, run.folder)]
    assert run.config.read_text() == new
    assert [file.name for file in run.folder.iterdir()] == ["config.yaml"]


def test_a_failing_write_keeps_the_old_file(run):
    run.write(run.config, "old\n")
    with pytest.raises(UnicodeEncodeError):
        run.write(run.config, "new \ud800")
    assert run.config.read_text() == "old\n"


def test_files_can_be_read_by_others(run):
    run.write(run.config, "x")
    assert run.config.stat().st_mode & 0o777 == 0o644


def test_results_are_added_to(run):
    assert run.read_results() == {}
    run.update_results(epochs=3, best={"score": 0.5})
    assert run.update_results(test={"f1": 1.0}, epochs=4) == {"epochs": 4, "best": {"score": 0.5}, "test": {"f1": 1.0}}
    assert json.loads(run.results.read_text()) == run.read_results()
    assert run.results.read_text().endswith("}\n")


def test_what_is_no_number_is_null(run):
    run.update_results(test={"auroc": float("nan"), "loss": 1.5}, scores=[float("inf"), 2], best=None)
    found = json.loads(run.results.read_text(), parse_constant=pytest.fail)  # strict: JSON has no NaN
    assert found == {"test": {"auroc": None, "loss": 1.5}, "scores": [None, 2], "best": None}


def test_an_empty_run_is_discarded_with_the_folders_made_for_it(tmp_path):
    run = Run.new(tmp_path / "checkpoints", "digits")
    for _ in range(2):
        run.discard_if_empty()
        assert not any(tmp_path.iterdir())


def test_folders_that_were_there_stay(tmp_path):
    Run.new(tmp_path, "digits").discard_if_empty()
    assert tmp_path.exists()
    assert not any(tmp_path.iterdir())


def test_an_empty_run_beside_another(tmp_path):
    kept, empty = Run.new(tmp_path, "digits"), Run.new(tmp_path, "digits")
    kept.write(kept.config, "x")
    empty.discard_if_empty()
    kept.discard_if_empty()
    assert [path.name for path in (tmp_path / "digits").iterdir()] == [kept.folder.name]
    assert kept.config.exists()


def test_files_have_names_of_their_own(run):
    names = ("config", "environment", "best", "last", "metrics", "results", "predictions")
    paths = [getattr(run, name) for name in names]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {run.folder}


def test_environment(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["litnets", "fit", "a b"])
    found = environment(seed=7)
    assert found["seed"] == 7
    assert found["command"] == "litnets fit 'a b'"
    assert set(found["versions"]) == set(PACKAGES)
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert len(found["hardware"]["gpus"]) == torch.cuda.device_count()
    assert datetime.fromisoformat(found["started"]).tzinfo is not None
    assert json.loads(json.dumps(found)) == found


def test_environment_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment(seed=None)["git"] == {"commit": None, "dirty": False}


def test_versions_of_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("litnets.runs.environment.PACKAGES", ("torch", "no-such-package"))
    assert environment(seed=0)["versions"]["no-such-package"] is None


# Attacks: names and links that would make a run write elsewhere


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/tmp/x", "", ".", "a\0b", "a\nb", "\x1b[31m"])
@pytest.mark.parametrize("claim", [True, False])
def test_an_experiment_is_a_folder_in_the_folder_of_the_experiments(name, claim):
    with pytest.raises(InputError, match="experiment: expected a folder name, got "):
        Run.new(Path("checkpoints"), name, claim)
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", ["a" * 300, "a/" + "b" * 300])
def test_a_name_that_is_too_long(name):
    with pytest.raises(InputError, match="cannot be created"):
        Run.new(Path("checkpoints"), name)


def test_experiments_may_be_nested_and_have_any_printable_name():
    assert Run.new(Path("checkpoints"), "group/größe 3").folder.is_dir()


def test_a_null_byte_in_the_path():
    with pytest.raises(InputError, match="cannot be created"):
        Run.new(Path("a\0b"), "digits")


@pytest.mark.parametrize("name", ["../digits", "/tmp"])
def test_a_requeued_job_looks_for_its_run_nowhere_else(name, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(InputError, match="experiment: expected a folder name"):
        Run.requeued(Path("checkpoints"), name)


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "environment.json", "predictions.csv"])
@pytest.mark.parametrize("planted", ["{}", ".{}.part", ".{}.00000000.part"])
def test_a_planted_link_is_not_written_through(run, name, planted):
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


def test_links_that_stay_inside_are_no_attack(run):
    """wandb makes them."""
    attempt = run.folder / "wandb" / "offline-run-20260102_120000-abc"
    attempt.mkdir(parents=True)
    (attempt.parent / "latest-run").symlink_to(attempt.name)
    (attempt / "saved-by-the-user").symlink_to("/etc/passwd")  # of an earlier attempt, which is not written again
    run.lock()


def test_a_run_folder_and_an_experiment_may_be_links_themselves(run):
    Path("link").symlink_to(run.folder.parent.absolute())
    linked = Run(Path("link") / run.folder.name)
    linked.lock()
    linked.write(linked.config, "x")
    assert run.config.read_text() == "x"


def test_leftovers_of_killed_processes_are_removed(run):
    Path("victim").write_text("mine")
    (run.folder / ".results.json.0123abcd.part").write_text("half")
    (run.folder / ".last.ckpt.0123abcd.part").symlink_to(Path("victim").absolute())
    (run.folder / ".a.0123abcd.part").mkdir()
    (run.folder / ".mine.part").write_text("not ours")
    run.lock()
    assert Path("victim").read_text() == "mine"
    assert {path.name for path in run.folder.iterdir()} == {".a.0123abcd.part", ".mine.part", ".lock", ".owner.json"}


def test_only_a_folder_that_was_created_here_is_discarded(run):
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


def test_no_configuration_is_overwritten(run):
    """One that environment.json does not list, and names that are no numbers."""
    run.add_attempt("first", {})
    for name in ("config_7.yaml", "config_².yaml", "config_99999999999999999999.yaml"):
        (run.folder / name).write_text("mine")
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
