import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from litnets.analysis.score_table import (
    ScoreTable,
    held_out_part,
    mean_test_train_ratio,
    scores_of,
    summarize_scores,
)
from litnets.data.core.split_record import SplitRecord
from litnets.data.core.splits import SplitSpec
from litnets.errors import InputError
from litnets.runs.folder import Run


def write_run(name: str, train: list[int], val: list[int], test: list[int]) -> Run:
    run = Run(Path(name))
    run.folder.mkdir()
    order = np.array([*train, *val, *test])
    digests = np.zeros(len(order), np.uint64)
    sizes = [len(train), len(val), len(test)]
    SplitRecord("Rows", SplitSpec(0.2), digests, digests, order, sizes).save(run.split)
    return run


def test_the_interval_uses_the_corrected_variance() -> None:
    scores = [0.81, 0.85, 0.78, 0.9, 0.84]
    summary = summarize_scores(scores, 0.25)
    variance = (1 / 5 + 0.25) * np.var(scores, ddof=1)  # Nadeau and Bengio (2003), equation 9
    low, high = stats.t.interval(0.95, 4, np.mean(scores), math.sqrt(variance))
    assert (summary.low, summary.high) == pytest.approx((low, high))
    assert (summary.mean, summary.std) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))


def test_without_correction_it_is_the_interval_of_a_mean() -> None:
    scores = [0.81, 0.85, 0.78]
    summary = summarize_scores(scores)
    assert (summary.low, summary.high) == pytest.approx(stats.t.interval(0.95, 2, np.mean(scores), stats.sem(scores)))


def test_the_table_has_a_row_for_each_run_and_the_metrics_that_all_have() -> None:
    table = ScoreTable({"fold_0": {"accuracy": 0.5, "f1": 0.1}, "fold_1": {"accuracy": 1.0}})
    assert table.to_csv().splitlines()[:5] == [
        "run,accuracy",
        "fold_0,0.5",
        "fold_1,1.0",
        "mean,0.75",
        "standard deviation,0.3535533905932738",
    ]
    assert table.to_dict()["summary"]["accuracy"]["interval"] == [table.rows()[4][1][0], table.rows()[5][1][0]]


def test_a_table_without_interval() -> None:
    table = ScoreTable({"fold_0": {"accuracy": 0.5}, "fold_1": {"accuracy": 1.0}}, None)
    assert table.to_csv().splitlines()[-1].startswith("standard deviation")
    assert table.to_dict()["summary"]["accuracy"]["interval"] is None


def test_a_score_that_is_not_a_number_leaves_no_summary() -> None:
    table = ScoreTable({"fold_0": {"r2": math.nan}, "fold_1": {"r2": 1.0}})
    assert table.to_dict()["summary"] == {"r2": None}
    assert table.to_csv().splitlines()[3] == "mean,"


def test_folds_are_the_test_splits_unless_all_runs_have_the_same_test_split() -> None:
    folds = [write_run("a", [0, 1, 2], [3], [4, 5]), write_run("b", [4, 5, 2], [3], [0, 1])]
    assert held_out_part(folds) == "test"
    assert mean_test_train_ratio(folds, "test") == 0.5
    fixed = [write_run("c", [0, 1, 2], [3], [4, 5]), write_run("d", [0, 1, 3], [2], [5, 4])]
    assert held_out_part(fixed) == "val"
    assert mean_test_train_ratio(fixed, "val") == pytest.approx(1 / 3)


def test_without_recorded_splits_the_test_split_is_fixed() -> None:
    runs = [Run(Path(name)) for name in ("a", "b", "c")]
    assert held_out_part(runs) == "val"
    assert mean_test_train_ratio(runs, "val") == 0.5


def test_validation_scores_are_those_of_the_best_epoch() -> None:
    run = Run(Path("run"))
    run.folder.mkdir()
    run.metrics.write_text("epoch,val/loss,val/f1,test/f1\n0,0.5,0.7,\n,,,\n1,0.4,0.8,\n2,0.6,0.9,\n3,,,0.85\n")
    run.update_results(best={"monitor": "val/loss", "score": 0.4, "epoch": 2}, test={"f1": 0.85, "loss": 1.0})
    assert scores_of(run, "val") == {"f1": 0.8, "loss": 0.4}
    assert list(scores_of(run, "val")) == list(scores_of(run, "test")) == ["f1", "loss"]


def test_a_nan_score_stays_in_the_table() -> None:
    run = Run(Path("run"))
    run.folder.mkdir()
    run.update_results(test={"loss": math.nan, "accuracy": 0.5})
    table = ScoreTable({"a": scores_of(run, "test"), "b": {"loss": 0.1, "accuracy": 0.7}})
    assert table.metrics == ["loss", "accuracy"]
    assert table.summary("loss") is None


def test_a_damaged_or_incomplete_metrics_file() -> None:
    run = Run(Path("run"))
    run.folder.mkdir()
    run.metrics.write_text("epoch,val/loss,val/f1\n0,0.5,nan\n1,0.4")
    assert scores_of(run, "val") == pytest.approx({"loss": 0.5, "f1": math.nan}, nan_ok=True)  # line 2 is incomplete
    for damage in ("epoch,val/loss\n0,x\n", "epoch,val/loss\n0,1,2\n", "step,val/loss\n0,1\n"):
        run.metrics.write_text(damage)
        with pytest.raises(InputError, match=r"run/metrics\.csv is damaged"):
            scores_of(run, "val")


def test_a_callback_may_log_texts() -> None:
    run = Run(Path("run"))
    run.folder.mkdir()
    run.metrics.write_text("epoch,is_warm,note,val/loss\n0,True,start,0.5\n1,False,,0.4\n")
    assert scores_of(run, "val") == {"loss": 0.4}


@pytest.mark.parametrize(
    ("metric", "low", "high"), [("f1", 0, 1), ("r2", None, 1), ("mae", 0, None), ("loss", None, None)]
)
def test_an_interval_ends_where_the_metric_does(metric: str, low: float | None, high: float | None) -> None:
    summary, free = ScoreTable({"a": {metric: 0.1}, "b": {metric: 0.9}}).summary(metric), summarize_scores([0.1, 0.9])
    assert summary is not None
    assert (summary.low, summary.high) == (free.low if low is None else low, free.high if high is None else high)


def test_a_run_without_scores_is_named() -> None:
    run = Run(Path("run"))
    run.folder.mkdir()
    with pytest.raises(InputError, match="run has no test metrics"):
        scores_of(run, "test")
