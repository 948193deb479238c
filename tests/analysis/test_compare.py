"""The comparison of settings, seeds and networks, from run folders."""

import numpy as np
import polars as pl
import pytest

from litnets.analysis.compare import (
    compare_networks,
    differences,
    group_runs,
    holm,
    main_metric,
    option_text,
    score_interval,
)
from litnets.analysis.finished_run import FinishedRun
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.runs.recorded_predictions import RecordedPredictions
from tests.helpers.tiny_runs import record, record_masks, record_values, write_run


def load(*runs: Run) -> list[FinishedRun]:
    return [FinishedRun.load(run) for run in runs]


def test_runs_that_differ_in_their_seed_are_one_setting() -> None:
    runs = load(write_run("1", seed=1), write_run("2", seed=2), write_run("3", seed=1, lr=0.1, score=0.95))
    settings = group_runs(runs)
    assert [(setting.label, len(setting.runs)) for setting in settings] == [("A", 1), ("B", 2)]
    assert differences(settings) == {"A": {"model.init_args.lr": 0.1}, "B": {"model.init_args.lr": 0.01}}


def test_runs_that_start_from_other_weights_are_two_settings() -> None:
    scratch, pretrained = load(write_run("1", score=0.8), write_run("2", seed=2))
    pretrained.config["init_from"] = "best.ckpt"  # type: ignore[index]
    assert differences(group_runs([scratch, pretrained])) == {"A": {"init_from": "best.ckpt"}, "B": {}}


def test_an_absent_option_does_not_differ_from_none() -> None:
    first, second, third = load(write_run("1"), write_run("2", seed=2), write_run("3", score=0.8))
    first.config["data.init_args.group_column"] = None  # type: ignore[index]
    first.config["fast_loop"] = False  # type: ignore[index]
    third.config["data.init_args.group_column"] = "patient"  # type: ignore[index]
    settings = group_runs([first, second, third])
    assert [len(setting.runs) for setting in settings] == [2, 1]
    assert differences(settings)["B"] == {"data.init_args.group_column": "patient"}
    assert differences(settings[:1]) == {"A": {}}


def test_the_best_validation_score_comes_first_whatever_the_test_says() -> None:
    worse, better = write_run("1", accuracy=0.99, score=0.8), write_run("2", accuracy=0.9, score=0.9, lr=0.1)
    assert [setting.runs[0].run.folder for setting in group_runs(load(worse, better))] == [better.folder, worse.folder]


def test_of_a_loss_the_lowest_comes_first() -> None:
    runs = load(write_run("1", score=0.8), write_run("2", score=0.9, lr=0.1))
    for run in runs:
        run.results["best"]["monitor"] = "val/loss"
    assert group_runs(runs)[0].runs[0].run.folder.name == "1"


def test_options_of_another_class_are_left_out() -> None:
    mlp, cnn = load(write_run("1", hidden_layer_sizes=[8]), write_run("2", score=0.8, widths=[16], lr=0.1))
    cnn.config["model.class_path"] = "litnets.CNNClassifier"  # type: ignore[index]
    assert differences(group_runs([mlp, cnn])) == {
        "A": {"model.class_path": "litnets.MLPClassifier", "model.init_args.lr": 0.01},
        "B": {"model.class_path": "litnets.CNNClassifier", "model.init_args.lr": 0.1},
    }


def test_values_of_options_name_classes_in_short() -> None:
    shift = {"class_path": "litnets.RandomShift", "init_args": {"pixels": 1, "padding": "zeros"}}
    assert option_text([shift, {"class_path": "mine.Flip"}]) == "[RandomShift(pixels=1, padding=zeros), mine.Flip]"
    assert [option_text(value) for value in ("litnets.CNNClassifier", 0.01, None)] == ["CNNClassifier", "0.01", "None"]


def test_metrics_that_runs_lack_are_not_compared() -> None:
    first, second = load(write_run("1"), write_run("2"))
    assert main_metric([first, second]) == "accuracy"
    del second.results["test"]["accuracy"]
    assert main_metric([first, second]) == "f1"
    del second.results["test"]["f1"]
    assert main_metric([first, second]) == "loss"
    del second.results["test"]["loss"]
    with pytest.raises(InputError, match="no test metric in common"):
        main_metric([first, second])


def test_classifiers_are_compared_by_their_right_answers() -> None:
    a, b = write_run("1"), write_run("2")
    targets = [0, 1, 2] * 20
    record(a, [0, 1, 2] * 10 + [0, 1, 1] * 10, targets)  # 10 wrong
    record(b, [1, 1, 2] + [0, 1, 2] * 19, targets)  # 1 wrong
    result = compare_networks(*load(a, b))
    assert result.difference == pytest.approx(9 / 60)
    assert result.p_value == pytest.approx(2 * (1 + 11) / 2**11)  # 10 samples against 1
    assert result.is_significant
    assert len(result.flips) == 11
    first = result.flips[0]
    assert (first.sample, first.target, first.prediction_a, first.prediction_b) == ("pets.csv:2", "cat", "cat", "dog")


def test_regressors_are_compared_by_their_squared_errors() -> None:
    a, b = write_run("1"), write_run("2")
    record_values(a, [1.0, 2.0] * 50)
    record_values(b, [1.0, 4.0] * 50)
    result = compare_networks(*load(a, b))
    assert result.measure == "squared error"
    assert result.difference == pytest.approx((16 - 4) / 2 / 2**2)  # in units of the standard deviation of the targets
    assert result.interval[0] < result.difference < result.interval[1]
    assert result.is_significant


def test_windows_of_a_forecast_count_once() -> None:
    a, b = write_run("1"), write_run("2")
    record_values(a, np.zeros(200).tolist(), steps=4)
    record_values(b, np.random.default_rng(0).normal(size=200).tolist(), steps=4)
    assert compare_networks(*load(a, b)).samples == 50


def test_masks_are_compared_by_their_iou() -> None:
    a, b = write_run("1"), write_run("2")
    record_masks(a, [10, 20] * 20)  # 15 of 50 pixels of `cat` are predicted as `dog`
    record_masks(b, [0] * 40)
    (first, second) = load(a, b)
    result = compare_networks(first, second)
    assert (result.samples, result.measure) == (40, "iou")
    assert result.difference == pytest.approx(1 - (35 / 50 + 50 / 65) / 2)
    assert 0 < result.interval[0] < result.difference < result.interval[1] < 0.4
    assert score_interval(second, "iou") == (1, 1)
    interval = score_interval(first, "iou")
    assert interval is not None
    assert interval[0] < 1 - result.difference < interval[1]
    assert score_interval(first, "dice") is None


def test_other_samples_are_refused() -> None:
    a, b = write_run("1"), write_run("2")
    record(a, [0, 1, 2], [0, 1, 2])
    record(b, [0, 1, 2], [0, 1, 1])
    with pytest.raises(InputError, match="different samples"):
        compare_networks(*load(a, b))


def test_names_of_classes_and_carried_columns_may_contain_target() -> None:
    a, b = write_run("1"), write_run("2")
    for run, output in ((a, 1.0), (b, 2.0)):
        columns = {"index": [0, 1], "target_id": ["u", "v"], "target": [0.0, 0.0], "prediction": [output] * 2}
        frame = pl.DataFrame({**columns, "logit_target": [output] * 2})
        RecordedPredictions(frame, {}).save(run.recorded_predictions("test"))
    assert compare_networks(*load(a, b)).difference == 3


def test_holm_equals_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
