"""The calibration of a run, from its folder to the predictions of its network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import softmax
from torch import nn

from litnets.analysis.calibrate import NotCalibrated, calibrate
from litnets.analysis.calibrated_run import Calibration, fingerprint
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from litnets.tasks import Classifier, Forecaster, Regressor
from tests.helpers.tiny_runs import CLASSES, WEIGHTS, record_logits, write_calibratable_run


def record_numbers(run: Run, part: str, errors: np.ndarray, names: str, targets: list[str]) -> None:
    """Record predictions of 0, errors `(N, targets)`; or `(N, steps, channels)` of forecasts."""
    rows = errors.reshape(-1, errors.shape[-1])
    columns: dict[str, Any] = {"index": np.arange(len(errors)).repeat(len(rows) // len(errors))}
    if errors.ndim == 3:
        columns["step"] = np.tile(np.arange(1, errors.shape[1] + 1), len(errors))
    suffixes = [""] if len(targets) == 1 and errors.ndim == 2 else [f"_{target}" for target in targets]
    for i, suffix in enumerate(suffixes):
        columns |= {f"target{suffix}": rows[:, i], f"prediction{suffix}": np.zeros(len(rows))}
    RecordedPredictions(pl.DataFrame(columns), {names: targets}).save(run.recorded_predictions(part))


def frame_of(run: Run, part: str = "test") -> pl.DataFrame:
    return RecordedPredictions.load(run.recorded_predictions(part)).frame


def test_an_overconfident_classifier_is_calibrated() -> None:
    run = write_calibratable_run()
    record_logits(run, "val", 2000)
    record_logits(run, "test", 2000, seed=1)
    before = frame_of(run)
    results = calibrate(run)
    assert results is not None
    assert results["temperature"] == pytest.approx(3, rel=0.1)
    assert results["after"]["nll"] < results["before"]["nll"]
    assert results["after"]["brier"] < results["before"]["brier"]
    assert results["after"]["ece"] < 0.03 < results["before"]["ece"]
    low, high = results["coverage_interval"]
    assert low < 0.9 < high
    calibration = Calibration.find(run, WEIGHTS)
    assert calibration is not None
    assert (calibration.samples, calibration.coverage) == (2000, 0.9)
    assert calibration.temperature == results["temperature"]
    after = frame_of(run)
    assert after.drop("probability", "set").equals(before.drop("probability"))
    assert results["coverage"] == np.mean([target in cell.split("|") for target, cell in after["target", "set"].rows()])
    assert "set" not in frame_of(run, "val").columns
    logits = after.select("^logit_.*$").to_numpy() / calibration.temperature
    np.testing.assert_allclose(after["probability"], softmax(logits, axis=1).max(1), rtol=1e-5)
    for part in ("val", "test"):
        record = RecordedPredictions.load(run.recorded_predictions(part))
        probabilities = record.probabilities()
        assert probabilities is not None
        np.testing.assert_allclose(record.frame["probability"], probabilities.max(1), rtol=1e-6)


def test_calibrating_again_changes_nothing() -> None:
    run = write_calibratable_run()
    record_logits(run, "val", 200)
    record_logits(run, "test", 100, seed=1)
    results = calibrate(run)
    files = (run.calibration, *map(run.recorded_predictions, ("val", "test")))
    before = [path.read_bytes() for path in files]
    assert calibrate(run) == results
    assert [path.read_bytes() for path in files] == before


def test_the_network_predicts_what_is_recorded() -> None:
    run = write_calibratable_run()
    record_logits(run, "val", 500)
    record_logits(run, "test", 300, seed=1)
    calibrate(run)
    calibration = Calibration.find(run, WEIGHTS)
    assert calibration is not None
    network = Classifier(nn.Identity(), 3, class_names=CLASSES).eval()
    frame = frame_of(run)
    logits = torch.from_numpy(frame.select("^logit_.*$").to_numpy())
    plain = network.predict_step(logits, 0)
    assert "set" not in plain
    calibration.apply(network)
    outputs = network.predict_step(logits, 0)
    assert torch.equal(outputs["prediction"], plain["prediction"])
    probability = outputs["probability"].amax(1)
    np.testing.assert_allclose(frame["probability"], probability, rtol=1e-5)
    names = np.array(CLASSES)
    assert frame["set"].to_list() == ["|".join(names[one]) for one in outputs["set"].numpy()]


@pytest.mark.parametrize("targets", [["price"], ["price", "size"]])
def test_the_intervals_of_numbers(targets: list[str]) -> None:
    run = write_calibratable_run()
    scales = np.array([1.0, 50.0])[: len(targets)]
    generator = np.random.default_rng(0)
    for part, samples in (("val", 1000), ("test", 800)):
        record_numbers(run, part, scales * generator.normal(size=(samples, len(targets))), "target_names", targets)
    results = calibrate(run)
    assert results is not None
    assert results["coverage"] == pytest.approx(0.9, abs=0.04)
    calibration = Calibration.find(run, WEIGHTS)
    assert calibration is not None
    assert calibration.half_widths == pytest.approx((1.645 * scales).tolist(), rel=0.1)
    network = Regressor(nn.Identity(), len(targets), targets).eval()
    calibration.apply(network)
    outputs = network.predict_step(torch.zeros(2, len(targets)), 0)
    frame = frame_of(run)
    for bound, sign in (("lower", -1), ("upper", 1)):
        names = [bound] if len(targets) == 1 else [f"{bound}_{target}" for target in targets]
        expected = sign * np.array(calibration.half_widths)
        np.testing.assert_allclose(frame.select(names).to_numpy()[:2], [expected, expected], rtol=1e-6)
        np.testing.assert_allclose(outputs[bound].reshape(2, -1), [expected, expected], rtol=1e-6)
        assert outputs[bound].shape == outputs["prediction"].shape


def test_each_step_and_channel_of_a_forecast_has_an_interval() -> None:
    run = write_calibratable_run()
    generator = np.random.default_rng(0)
    scales = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])  # (steps, channels)
    for part, samples in (("val", 1000), ("test", 800)):
        record_numbers(run, part, scales * generator.normal(size=(samples, 3, 2)), "channel_names", ["load", "OT"])
    results = calibrate(run)
    assert results is not None
    assert results["coverage"] == pytest.approx(0.9, abs=0.02)
    assert results["coverage_interval"][0] < results["coverage"] < results["coverage_interval"][1]
    calibration = Calibration.find(run, WEIGHTS)
    assert calibration is not None
    np.testing.assert_allclose(calibration.half_widths, 1.645 * scales, rtol=0.1)
    network = Forecaster(nn.Identity(), 3, ["load", "OT"]).eval()
    calibration.apply(network)
    outputs = network.predict_step(torch.zeros(2, 3, 2), 0)
    recorded = frame_of(run).select("upper_load", "upper_OT").to_numpy()[:6].reshape(2, 3, 2)
    np.testing.assert_allclose(outputs["upper"], recorded, rtol=1e-6)
    np.testing.assert_allclose(outputs["lower"], -recorded, rtol=1e-6)


def test_samples_that_the_loss_ignores_are_left_out() -> None:
    run = write_calibratable_run()
    weights = np.repeat([0.0, 1.0], 300)
    for part in ("val", "test"):
        record_logits(run, part, 600, loss_weight=weights)
    results = calibrate(run)
    assert results is not None
    calibration = Calibration.find(run, WEIGHTS)
    assert calibration is not None
    assert calibration.samples == 300
    covered = [target in cell.split("|") for target, cell in frame_of(run)["target", "set"].rows()]
    assert results["coverage"] == np.mean(covered[300:])


def test_several_labels_and_a_single_logit() -> None:
    generator = np.random.default_rng(0)
    for name, description in (
        ("labels", {"class_names": CLASSES, "multilabel": True}),
        ("logit", {"class_names": CLASSES[:2], "multilabel": False}),
    ):
        run = write_calibratable_run(name)
        for part in ("val", "test"):
            logits = generator.normal(0, 2, (1000, 3))
            labels = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
            if name == "labels":
                columns = {f"target_{label}": labels[:, i] for i, label in enumerate(CLASSES)}
                columns |= {f"logit_{label}": 2 * logits[:, i] for i, label in enumerate(CLASSES)}
            else:
                names = np.array(CLASSES)
                predicted = names[(logits[:, 0] > 0).astype(int)]
                columns = {"target": names[labels[:, 0]], "prediction": predicted, "probability": logits[:, 0]}
                columns["logit"] = 2 * logits[:, 0]
            RecordedPredictions(pl.DataFrame(columns), description).save(run.recorded_predictions(part))
        results = calibrate(run)
        assert results is not None
        assert results["temperature"] == pytest.approx(2, rel=0.1)
        assert results["coverage"] == pytest.approx(0.9, abs=0.03)
    assert frame_of(run)["probability"].min() >= 0.5


@pytest.mark.parametrize(
    ("samples", "change", "message"),
    [
        (8, {}, "needs at least 9 validation samples, but there are 8"),
        (20, {"logit_cat": [np.nan] * 20}, "some predictions are not finite"),
        (20, {"loss_weight": [0.0] * 20}, "needs at least 9 validation samples, but there are 0"),
    ],
)
def test_what_cannot_be_calibrated(samples: int, change: dict[str, Any], message: str) -> None:
    run = write_calibratable_run()
    run.calibration.write_text("of an earlier test")
    record_logits(run, "val", samples, **change)
    record_logits(run, "test", 20)
    before = run.recorded_predictions("test").read_bytes()
    with pytest.raises(NotCalibrated, match=message):
        calibrate(run)
    assert not run.calibration.exists()
    assert run.recorded_predictions("test").read_bytes() == before


def test_a_validation_split_of_another_distribution_is_not_used() -> None:
    for prior in ("balanced", "data"):
        run = write_calibratable_run(prior, class_prior=prior)
        record_logits(run, "val", 20)
        record_logits(run, "test", 20)
    assert calibrate(run) is not None
    with pytest.raises(NotCalibrated, match="class_prior"):
        calibrate(Run(run.folder.parent / "balanced"))
    run.recorded_predictions("val").unlink()
    with pytest.raises(NotCalibrated, match="no validation predictions"):
        calibrate(run)


def test_test_predictions_that_are_not_finite_are_reported() -> None:
    run = write_calibratable_run()
    record_numbers(run, "val", np.ones((20, 1)), "target_names", ["price"])
    record_numbers(run, "test", np.full((20, 1), np.nan), "target_names", ["price"])
    with pytest.raises(NotCalibrated, match="some predictions are not finite"):
        calibrate(run)
    record_logits(run, "val", 20)
    record_logits(run, "test", 20, logit_cat=[np.inf] * 20)
    with pytest.raises(NotCalibrated, match="some predictions are not finite"):
        calibrate(run)


def test_masks_are_not_calibrated() -> None:
    run = write_calibratable_run()
    for part in ("val", "test"):
        record = RecordedPredictions(pl.DataFrame({"index": [0], "iou": [0.5]}), {"class_names": CLASSES})
        record.save(run.recorded_predictions(part))
    assert calibrate(run) is None
    assert not run.calibration.exists()


def test_another_checkpoint_is_not_calibrated() -> None:
    run = write_calibratable_run()
    record_logits(run, "val", 20)
    record_logits(run, "test", 20)
    assert Calibration.find(run, WEIGHTS) is None
    calibrate(run)
    assert Calibration.find(run, dict(WEIGHTS)) is not None
    for other in (
        {"net.weight": torch.tensor([0.0, 1.0, 2.5])},
        {"net.weight": torch.arange(3.0).double()},
        {"net.weight": torch.arange(3.0).unsqueeze(0)},
        {"net.bias": torch.arange(3.0)},
        {**WEIGHTS, "net.bias": torch.zeros(1)},
    ):
        assert Calibration.find(run, other) is None


def test_the_fingerprint_reads_every_type() -> None:
    weights = {"a": torch.tensor(3), "b": torch.ones(2, 3).T, "c": torch.ones(2, dtype=torch.bfloat16), "d": b"extra"}
    assert fingerprint(weights) == fingerprint(dict(reversed(weights.items())))
    assert fingerprint(weights) != fingerprint({**weights, "a": torch.tensor(4)})


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "hot"},
        {"temperature": 10**400},
        {"temperature": None},
        {"set_threshold": 2},
        {"half_widths": [-1.0]},
        {"half_widths": [None]},
        {"half_widths": [10**400]},
        {"half_widths": [[1.0], [1.0, 2.0]]},
        {"half_widths": ["1.0"]},
        {"half_widths": 1.0},
        {"samples": "9"},
        {"code": "import os"},
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, Any]) -> None:
    run = Run(Path())
    content = {"weights": fingerprint(WEIGHTS), "samples": 9, "coverage": 0.9, "temperature": 1.0}
    run.calibration.write_text(json.dumps(content))
    assert Calibration.find(run, WEIGHTS) is not None
    run.calibration.write_text(json.dumps({**content, **change}))
    with pytest.raises(InputError, match=r"^calibration.json is damaged"):
        Calibration.find(run, WEIGHTS)


def test_intervals_of_another_shape_are_refused() -> None:
    calibration = Calibration("", 9, 0.9, half_widths=[1.0, 2.0])
    with pytest.raises(InputError, match=r"half_widths of the shape \(1,\), got \(2,\); `litnets test RUN`"):
        calibration.apply(Regressor(nn.Identity(), 1))
