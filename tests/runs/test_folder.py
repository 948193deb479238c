import json
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
    with pytest.raises(InputError, match=r"the run's folder .* cannot be made"):
        Run.new(tmp_path / "root", "digits")
    assert path.read_text() == "here already"


def test_a_folder_that_may_not_be_made(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="cannot be made: no"):
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
