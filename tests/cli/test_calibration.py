"""Calibration after a test: what is stored, and what is printed."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from litnets.cli import calibration
from litnets.cli.calibration import calibrate_after_test, print_calibration
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.training.record_predictions import RecordPredictions
from tests.helpers.tiny_runs import record_logits, write_calibratable_run


def after_a_test(
    run: Run, has_recorded: bool = True, enabled: bool = True, limit_val_batches: int | float = 1.0
) -> dict[str, Any] | None:
    recorder = RecordPredictions(run, locks=True)
    recorder.has_recorded = has_recorded
    trainer: Any = SimpleNamespace(callbacks=[recorder], limit_val_batches=limit_val_batches)
    return calibrate_after_test(run, trainer, enabled)


def recorded_run(samples: int = 50) -> Run:
    run = write_calibratable_run()
    record_logits(run, "val", samples)
    record_logits(run, "test", 50, seed=1)
    return run


def test_the_results_are_stored_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded_run()
    results = after_a_test(run)
    assert results is not None
    assert run.read_results()["calibration"] == results
    assert run.read_results()["test"]["accuracy"] == 0.9
    print_calibration(results)
    line = capsys.readouterr().out
    assert line.startswith(
        f"calibration: temperature {results['temperature']:.3g}; ECE {results['before']['ece']:.4f} ->"
    )
    assert (
        f"90% sets cover {100 * results['coverage']:.1f}% with {results['mean_set_size']:.2f} classes on average"
        in line
    )
    print_calibration({"coverage": 0.5, "coverage_interval": [0.4, 0.6]})
    assert capsys.readouterr().out == "calibration: 90% intervals cover 50.0%\n"
    print_calibration(None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("limit", [1, 0.5])
def test_a_calibration_with_a_part_of_the_validation_split_is_noted(
    limit: int | float, capsys: pytest.CaptureFixture[str]
) -> None:
    after_a_test(recorded_run(), limit_val_batches=limit)
    assert (
        capsys.readouterr().out
        == f"note: calibrated with 50 validation samples (--trainer.limit_val_batches {limit})\n"
    )


def test_an_earlier_calibration_is_removed_if_it_is_disabled() -> None:
    run = recorded_run()
    after_a_test(run)
    assert after_a_test(run, enabled=False) is None
    assert not run.calibration.exists()
    assert "calibration" not in run.read_results()


def test_a_test_that_records_nothing_changes_nothing() -> None:
    run = recorded_run()
    after_a_test(run)
    before = run.calibration.read_bytes()
    assert after_a_test(run, has_recorded=False, enabled=False) is None
    assert calibrate_after_test(run, SimpleNamespace(callbacks=[]), enabled=False) is None  # type: ignore[arg-type]
    assert run.calibration.read_bytes() == before


def test_what_prevents_the_calibration_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(samples=3)
    run.update_results(calibration={"temperature": 2.0})
    assert after_a_test(run) is None
    expected = "note: the run is not calibrated: needs at least 9 validation samples, but there are 3\n"
    assert capsys.readouterr().out == expected
    assert "calibration" not in run.read_results()

    def fail(run: Run) -> None:
        raise InputError("best.ckpt is damaged")

    monkeypatch.setattr(calibration, "calibrate", fail)
    assert after_a_test(run) is None
    assert capsys.readouterr().out == "note: the run is not calibrated: best.ckpt is damaged\n"


def test_no_error_of_the_calibration_ends_a_training_whose_results_are_not_stored_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = recorded_run()
    test = RecordedPredictions.load(run.recorded_predictions("test"))
    test.frame = test.frame.with_columns(loss_weight=pl.lit(0.0))  # no sample counts
    test.save(run.recorded_predictions("test"))
    assert after_a_test(run) is None
    assert capsys.readouterr().out.startswith("note: the run is not calibrated: ")


def test_a_run_in_use_is_not_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded_run()
    owner = Run(run.folder)
    owner.lock()
    assert after_a_test(run) is None
    assert "is in use" in capsys.readouterr().out
    assert not run.calibration.exists()
    owner.unlock()
