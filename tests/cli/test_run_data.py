"""data.json, inputs.parquet and baselines.json: written after a test, and never at the cost of the run."""

import json
from pathlib import Path
from typing import Any

import pytest

from litnets.__main__ import main
from litnets.analysis import baselines
from litnets.data import Iris
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.runs.stored_inputs import load_inputs

ARGUMENTS = ["--data", "Iris", "--model", "MLPClassifier", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
ARGUMENTS += ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]


def fit(*options: str) -> Run:
    assert main(["fit", *ARGUMENTS, *options]) == 0
    (folder,) = Path("checkpoints", "iris_mlpclassifier").iterdir()
    return Run(folder)


def test_a_run_describes_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit()
    assert json.loads(run.data.read_text())["splits"]["test"]["samples"] == 30
    inputs = load_inputs(run.inputs)
    predictions = RecordedPredictions.load(run.recorded_predictions("test")).frame
    mistakes = predictions.filter(predictions["target"] != predictions["prediction"])
    assert {one.index for one in inputs if one.role == "mistake"} == set(mistakes["index"])
    baselines = json.loads(run.baselines.read_text())
    assert baselines.keys() == {"most frequent class"}  # the tests do not fit others
    test = json.loads(run.results.read_text())["test"]
    assert baselines["most frequent class"].keys() == {*test, "seconds"}
    out = capsys.readouterr().out
    has_note = "that of the best baseline (most frequent class)" in out
    assert has_note == (test["accuracy"] <= baselines["most frequent class"]["accuracy"])

    before = run.data.read_bytes(), run.inputs.read_bytes()
    run.data.unlink()
    run.inputs.write_bytes(b"")
    assert main(["test", str(run.folder), "--trainer.enable_progress_bar", "false"]) == 0
    assert (run.data.read_bytes(), run.inputs.read_bytes()) == before
    run.data.unlink()
    assert main(["test", str(run.folder), "--data.test_size", "0.4", "--split_again"]) == 0
    assert not run.data.exists()  # these are not the data of the run


def test_both_can_be_turned_off() -> None:
    run = fit("--store_data", "false", "--baselines", "false")
    assert not run.data.exists()
    assert not run.inputs.exists()
    assert not run.baselines.exists()


def test_the_test_metrics_are_stored_before_the_baselines_which_may_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored: list[Any] = []

    def fail(*_: Any, **__: Any) -> Any:
        (results,) = Path("checkpoints", "iris_mlpclassifier").glob("*/results.json")
        stored.append(json.loads(results.read_text()).get("test"))
        raise MemoryError("too many trees")

    monkeypatch.setattr(baselines, "_classify", fail)
    run = fit("--baselines", "true")
    assert stored == [json.loads(run.results.read_text())["test"]] * 2
    assert json.loads(run.baselines.read_text()).keys() == {"most frequent class"}
    out = capsys.readouterr().out
    for name in ("logistic regression", "gradient boosting"):
        assert f"note: no baseline {name}: MemoryError: too many trees\n" in out


def test_errors_are_reported_in_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("of the data")

    for name in ("describe_data", "raw_input", "slice_values"):
        monkeypatch.setattr(Iris, name, fail)
    monkeypatch.setattr("litnets.cli.run_data.compute_baselines", fail)
    run = fit()
    out = capsys.readouterr().out
    for name in ("data.json is not written", "inputs.parquet is not written", "baselines.json is not written"):
        assert f"note: {name}: ValueError: of the data" in out
    assert "note: test is recorded without values to slice by: ValueError: of the data" in out
    assert "test" in json.loads(run.results.read_text())
    assert run.recorded_predictions("test").exists()
