from pathlib import Path

import pytest
import torch

from litnets.runs.folder import Run
from litnets.runs.print_results import best_of, print_end, print_results, summarize

METRICS = {
    "test/loss": 0.25,
    "test/f1": 0.5,
    "test/precision/shirt": 0.75,
    "test/f1/shirt": 1.0,
    "test/f1/coat/long": 0.125,
}


def test_overall_and_per_class_metrics_are_separated():
    overall, per_class = summarize(METRICS)
    assert overall == {"loss": 0.25, "f1": 0.5}
    assert per_class == {"shirt": {"precision": 0.75, "f1": 1.0}, "coat/long": {"f1": 0.125}}


def test_a_metric_name_may_lack_the_split():
    assert summarize({"loss": 1}) == ({"loss": 1.0}, {})


def test_tensors_become_plain_floats():
    assert type(summarize({"test/loss": torch.tensor(1.0)})[0]["loss"]) is float


def rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]


def test_overall_and_per_class_metrics_are_printed_as_tables(capsys):
    print_results(
        "test of run", {"test/loss": 0.25, "test/f1/a": 0.5, "test/f1/b": 1, "test/recall/a": 0, "test/recall/b": 1}
    )
    shown = rows(capsys)
    assert shown[0] == ["test", "of", "run"]
    for row in (["loss", "0.2500"], ["class", "f1", "recall"], ["a", "0.5000", "0.0000"], ["b", "1.0000", "1.0000"]):
        assert row in shown


def test_more_than_20_classes_are_not_printed(capsys):
    print_results("test", {f"test/f1/{i}": 0.5 for i in range(21)})
    assert not any("class" in row for row in rows(capsys))


@pytest.mark.parametrize(
    ("results", "line"),
    [
        (
            {
                "best": {"monitor": "val/loss", "score": 0.12345, "epoch": 3},
                "epochs": 5,
                "seconds": 61.25,
                "samples_per_second": 12345,
            },
            "best val/loss 0.1235 in epoch 3; 5 epochs in 61.2 s, 12,345 samples/s",
        ),
        (
            {"best": None, "epochs": 1, "seconds": 0.5, "samples_per_second": None},
            "no validation score; 1 epoch in 0.5 s",
        ),
        ({"epochs": 1, "seconds": 0.5}, "no validation score; 1 epoch in 0.5 s"),
    ],
)
def test_the_best_score_is_summarized_in_one_line(results, line):
    assert best_of(results) == line


def test_class_names_are_not_read_as_markup(capsys):
    print_results("test of [run]", {"test/loss": 0.25, "test/f1/[/INST]": 0.5, "test/f1/[unk]": 1})
    shown = rows(capsys)
    assert ["[/INST]", "0.5000"] in shown
    assert ["[unk]", "1.0000"] in shown


def test_the_end_of_a_training_says_why_it_ended(capsys):
    results = {"epochs": 3, "seconds": 1.0, "stop_reason": "max_epochs of 3 reached"}
    print_end(results, Run(Path("e/r")), [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["no validation score; 3 epochs in 1.0 s", "max_epochs of 3 reached"]
    results.pop("stop_reason")  # version 0.1
    print_end(results, Run(Path("e/r")), [])
    assert "reached" not in capsys.readouterr().out


def test_the_next_steps_name_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    run, results = Run(Path("e/r")), {"epochs": 3, "seconds": 1.0}
    print_end(results, run, [])
    output = capsys.readouterr().out
    assert "  litnets test e/r\n  litnets report e/r\n  litnets predict e/r NEW_FILE\n" in output
    run.folder.mkdir(parents=True)
    run.report.write_text("")
    print_end({**results, "test": {"loss": 1.0}}, run, [])
    output = capsys.readouterr().out
    assert "run folder: e/r\nreport: e/r/report.html\nNext steps:\n  litnets predict e/r NEW_FILE\n" in output


def test_channels_are_not_called_classes(capsys):
    print_results("test", {"test/mse": 0.25, "test/mae_in_units/wind": 0.5}, "channel")
    assert ["channel", "mae_in_units"] in rows(capsys)


def test_a_loss_that_equals_the_mean_squared_error_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_results("test", {"test/loss": 0.25, "test/mse": 0.25, "test/mae": 0.4})
    print_results("test", {"test/loss": 0.3, "test/mse": 0.25})
    first, second = capsys.readouterr().out.split("test\n")[1:]
    assert "loss" not in first
    assert "loss" in second
