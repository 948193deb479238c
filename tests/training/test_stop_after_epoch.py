"""Training in parts: a run that stops after an epoch and is resumed equals one that never stopped."""

from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.runs.folder import Run
from litnets.training.checkpoints.loading import load_checkpoint

FIT = ["fit", "--model=MLPClassifier", "--model.hidden_layer_sizes=[4]", "--data=Iris", "--recipe=false"]
FIT += ["--model.lr_scheduler=OneCycleLR", "--test_after_fit=false", "--trainer.max_epochs=3", "--trainer.logger=false"]


def fit(runs_dir: str, *options: str) -> Run:
    assert main([*FIT, f"--runs_dir={runs_dir}", *options]) == 0
    (config,) = Path(runs_dir).rglob("config.yaml")
    return Run(config.parent)


def test_a_training_in_parts_equals_an_uninterrupted_one(capsys: pytest.CaptureFixture[str]) -> None:
    parts = fit("parts", "--stop_after_epoch=1")
    assert parts.read_results()["epochs"] == 1
    assert "stop_after_epoch of 1 reached" in parts.read_results()["stop_reason"]
    assert main(["resume", str(parts.folder)]) == 0
    assert "has stopped after epoch 1" in capsys.readouterr().out
    assert main(["resume", str(parts.folder), "--stop_after_epoch=null"]) == 0
    assert "stop_after_epoch:" not in capsys.readouterr().out, "it is no change of the experiment"

    whole = fit("whole")
    assert parts.read_results()["best"] == whole.read_results()["best"]
    ended = [load_checkpoint(run.last) for run in (parts, whole)]
    assert ended[0]["global_step"] == ended[1]["global_step"]
    for name, weights in ended[0]["state_dict"].items():
        assert weights.equal(ended[1]["state_dict"][name]), name


def test_results_are_completed_if_the_run_was_killed_before_they_were_written() -> None:
    run = fit("killed", "--stop_after_epoch=1")
    stale = run.read_results()
    assert main(["resume", str(run.folder), "--stop_after_epoch=2"]) == 0
    results = run.read_results()
    run.write_json(run.results, stale)
    assert main(["resume", str(run.folder), "--stop_after_epoch=2"]) == 0
    assert run.read_results()["best"] == results["best"]
    assert run.read_results()["epochs"] == 2
    assert load_checkpoint(run.last)["epoch"] == 2
