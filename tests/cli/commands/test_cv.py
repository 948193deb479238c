import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from litnets.__main__ import main
from litnets.cli.commands.cv import build_jobs
from litnets.cli.parsed_fit import ParsedFit
from litnets.errors import InputError
from litnets.runs.folder import Run
from litnets.training.signals import Signals

OPTIONS = ["--model", "MLPClassifier", "--data", "Iris", "--trainer.max_epochs", "2", "--recipe", "false"]
ROOT_AND_CLASSES = ["--data.root", "a", "--data.num_classes", "3"]


def only_parent() -> Path:
    (parent,) = Path("checkpoints").glob("*/cv_*")
    return parent


def test_every_sample_is_tested_once_and_an_interrupted_command_ends_with_the_same_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cv", "--folds", "2", *OPTIONS]) == 0
    parent = only_parent()
    table = (parent / "cv.csv").read_bytes()
    content = json.loads((parent / "cv.json").read_text())
    assert list(content["runs"]) == ["fold_0", "fold_1"]
    assert content["evaluated_on"] == "test"
    assert content["test_train_ratio"] == 1.0
    frame = pl.read_parquet(parent / "out_of_fold.parquet")
    assert sorted(frame["row"].cast(int)) == list(range(1, 151))
    correct = (frame["prediction"] == frame["target"]).mean()
    assert content["summary"]["accuracy"]["mean"] == pytest.approx(correct, abs=1e-6)
    assert "no ensemble" in capsys.readouterr().out

    # As if the command had been killed: before its results, after the training of one run, before that of the other.
    first, second = Run(parent / "fold_0"), Run(parent / "fold_1")
    seconds = first.read_results()["seconds"]
    for name in ("cv.json", "cv.csv", "jobs.json"):
        (parent / name).unlink()
    shutil.rmtree(second.folder)
    assert main(["cv", "--folds", "2", *OPTIONS, "--jobs", "1"]) == 0
    assert (only_parent() / "cv.csv").read_bytes() == table
    assert first.read_results()["seconds"] == seconds, "a run that was done is not trained again"
    assert main(["test", str(second.folder)]) == 0


def test_repeats_split_again() -> None:
    with Signals() as signals:
        parsed = ParsedFit("cv", [*OPTIONS, "--data.split_seed", "7"], signals)
    jobs = build_jobs(parsed, folds=11, repeats=2)
    assert [job.name for job in jobs[::11]] == ["repeat_0_fold_00", "repeat_1_fold_00"]
    options = ["--data.num_folds=11", "--data.fold=10", "--data.split_seed=8"]
    assert jobs[-1].options == [*OPTIONS, "--data.split_seed", "7", *options]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "1"], "cv: --folds: expected at least 2, got 1"),
        (["--folds", "two"], "cv: argument --folds: invalid int value: 'two'"),
        (["--repeats", "0"], "cv: --repeats: expected at least 1, got 0"),
        (["--jobs", "0"], "cv: --jobs: expected 1 to "),
        (["--jobs", "1000"], ", got 1000"),
        (["--folds", "151"], "cv: fold_000: "),  # by the data of the first run
        (["--folds", "1000000000"], "cv: --folds, --repeats: expected at most 10,000 runs, got 1,000,000,000"),
        (["--data.fold", "1"], "cv: --data.num_folds and --data.fold are set by --folds"),
        (["--model.lrr", "1"], "no option 'lrr'"),
        (["--trainer.fast_dev_run", "true"], "cv: --trainer.fast_dev_run keeps no run"),
        (["--trainer.devices", "2"], "cv: each run is trained on one device, got --trainer.devices 2"),
        (["--test_after_fit", "false"], "cv: --test_after_fit false leaves no scores"),
        (["--ckpt_path", "last"], "cv: --ckpt_path resumes one run"),
        (
            ["--data", "StreamedImages", "--data.root", "a", "--data.num_classes", "3"],
            "cv: StreamedImages has no option num_folds",
        ),
    ],
)
def test_wrong_options_are_refused_before_a_run(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cv", *OPTIONS, *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("checkpoints").exists()


def test_help_shows_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["cv", "--help"])
    assert error.value.code == 0
    assert "--folds K" in capsys.readouterr().out


def test_limits_of_batches_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1.0"]
    with Signals() as signals:
        ParsedFit("cv", [*OPTIONS, *limits, "--trainer.limit_test_batches", "0.5"], signals)
    reported = "cv: --trainer.limit_train_batches 1, --trainer.limit_test_batches 0.5: the results come from a part of"
    assert reported in capsys.readouterr().out


def test_a_configuration_that_changes_between_runs_is_an_error() -> None:
    config = Path("iris.yaml")
    config.write_text("model: MLPClassifier\ndata: Iris\n")
    with Signals() as signals:
        parsed = ParsedFit("cv", ["--config", str(config)], signals)
    parsed.check_configs()
    config.write_text("model: MLPClassifier\ndata: Wine\n")
    with pytest.raises(InputError, match=r"cv: iris\.yaml changed after the first run"):
        parsed.check_configs()
