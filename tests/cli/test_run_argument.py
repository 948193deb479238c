"""The argument RUN of test, validate, predict and resume."""

import json
import os
import shutil
from pathlib import Path

import pytest

from litnets.__main__ import main
from litnets.cli.run_argument import parse_run_argument, report_run
from litnets.data.core.split_record import SplitRecord
from litnets.errors import InputError
from litnets.runs.folder import Run
from tests.conftest import CONFIGS
from tests.helpers.tiny_images import write_image_folder

RUNS = Path("checkpoints/digits")


def make_run(name: str, age: int = 0) -> Run:
    """Create a run folder, without checkpoints, `age` seconds old."""
    run = Run(RUNS / name)
    run.folder.mkdir(parents=True)
    run.add_attempt("trainer: {}", {})
    time = run.environment.stat().st_mtime - age
    os.utime(run.environment, (time, time))
    return run


def test_options_alone_select_no_run() -> None:
    for args in ([], ["--config", "a.yaml"], ["-c", "a.yaml"]):
        argument = parse_run_argument(args)
        assert (argument.run, argument.selection, argument.options) == (None, [], args)


def test_only_an_experiment_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("first")
    run.last.touch()
    for where in (str(run.folder), "digits/first", str(run.last)):
        report_run(where, run)
    assert capsys.readouterr().err == ""
    report_run("digits", run)
    assert capsys.readouterr().err == f"litnets: digits: the newest run is {run.folder}\n"


def test_a_run_folder() -> None:
    run = make_run("first")
    argument = parse_run_argument([str(run.folder), "--trainer.devices", "2"])
    assert argument.selection == ["--config", "checkpoints/digits/first/config.yaml"]
    assert argument.options == ["--trainer.devices", "2"]


@pytest.mark.parametrize("where", ["digits", "checkpoints/digits"])
def test_an_experiment_is_its_newest_run(where: str) -> None:
    make_run("first", age=10)
    newest = make_run("second")
    make_run("third", age=5)
    argument = parse_run_argument([where])
    assert argument.run is not None
    assert argument.run.folder == newest.folder


@pytest.mark.parametrize("option", [["--runs_dir", "archive"], ["--runs_dir=archive"]])
def test_an_experiment_in_another_folder(option: list[str]) -> None:
    make_run("first")
    RUNS.parent.rename("archive")
    assert parse_run_argument(["digits", *option]).selection == ["--config", "archive/digits/first/config.yaml"]


def test_a_checkpoint_is_used_with_the_newest_configuration_of_its_run() -> None:
    run = make_run("first")
    run.add_attempt("trainer: {max_epochs: 9}", {})
    run.last.write_bytes(b"")
    config = "checkpoints/digits/first/config_2.yaml"
    expected = ["--config", config, "--ckpt_path", "checkpoints/digits/first/last.ckpt"]
    assert parse_run_argument([str(run.last)]).selection == expected
    assert parse_run_argument([str(run.config)]).selection == ["--config", config]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("digit", "there is no folder digit; expected the folder of a run or an experiment; did you mean 'digits'?"),
        ("empty", "there is no run in empty; `litnets fit --config FILE` starts one"),
        ("a.ckpt", "a.ckpt is not in a run folder; pass it with --ckpt_path, and its configuration with --config"),
        ("a.yaml", "a.yaml is not in a run folder; pass it with --config"),
        (
            "new.csv",
            "new.csv is not in a run folder; give the run first, then new data: `predict RUN NEW`, `test RUN --on NEW`",
        ),
    ],
)
def test_what_is_not_a_run(where: str, message: str) -> None:
    make_run("first")
    Path("empty").mkdir()
    for name in ("a.ckpt", "a.yaml", "new.csv"):
        Path(name).write_bytes(b"")
    with pytest.raises(InputError) as error:
        parse_run_argument([where])
    assert str(error.value) == message


def test_commands_take_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.max_epochs", "1", "--model.hidden_layer_sizes", "[8]", "--trainer.logger", "false"]
    assert main(["fit", "--config", str(CONFIGS / "digits_mlp.yaml"), *options]) == 0
    (folder,) = Path("checkpoints/digits_mlp").iterdir()
    accuracy = json.loads((folder / "results.json").read_text())["test"]["accuracy"]
    capsys.readouterr()
    assert main(["test", "digits_mlp", "--data.eval_batch_size", "50"]) == 0
    out = capsys.readouterr().out
    assert f"test, {folder}/best.ckpt" in out
    assert f"accuracy    {accuracy:.4f}" in out
    assert main(["validate", str(folder / "last.ckpt")]) == 0
    assert f"validate, {folder}/last.ckpt" in capsys.readouterr().out
    assert main(["predict", str(folder)]) == 0
    assert f"predictions: {folder}/predictions.csv" in capsys.readouterr().out
    assert main(["resume", str(folder / "last.ckpt"), "--data.batch_size", "32"]) == 0
    out = capsys.readouterr().out
    assert f"{folder} is finished: 1 of 1 epoch;" in out
    assert out.endswith("not applied, because nothing is left to train: data.init_args.batch_size: 64 -> 32\n")
    assert main(["resume", str(folder / "best.ckpt")]) == 2
    assert f"resume continues from {folder}/last.ckpt" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_tested_on_new_labeled_data(capsys: pytest.CaptureFixture[str]) -> None:
    write_image_folder(Path("old"))
    options = ["--data.size", "8", "--trainer.max_epochs", "3", "--trainer.logger", "false"]
    assert main(["fit", "--model", "MLPClassifier", "--data", "ImageFolder", "--data.root", "old", *options]) == 0
    (run,) = Path("checkpoints/imagefolder_mlpclassifier").iterdir()
    results = json.loads((run / "results.json").read_text())["test"]
    split = SplitRecord.load(run / "split.npz")
    files = sorted(Path("old").glob("*/*"))
    for index in (split.split_of == 2).nonzero()[0].tolist():
        target = Path("new", *files[index].parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        files[index].rename(target)
    shutil.rmtree("old")
    capsys.readouterr()
    assert main(["test", str(run), "--on", "new"]) == 0
    out = capsys.readouterr().out
    assert f"test, {run}/best.ckpt, on new" in out
    for name in ("loss", "accuracy", "f1"):
        assert f"{name:<12}{results[name]:.4f}" in out
    shutil.copytree("new/cat", "new/lynx")
    assert main(["test", str(run), "--on", "new"]) == 2
    assert "new has the class lynx, but the run has only cat, dog, owl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("test --config {c} --on new", "test needs a checkpoint"),
        (
            "test --config {c} --data.predict_path new",
            "--data.predict_path is not used by test; labeled",
        ),
        ("validate --config {c} --data.predict_path=new", "--data.predict_path is not used by validate"),
    ],
)
def test_new_data_for_the_wrong_command(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.format(c=CONFIGS / "digits_mlp.yaml").split()) == 2
    assert message in capsys.readouterr().err
