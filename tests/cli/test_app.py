"""The command line, end to end."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from lightning.pytorch.demos.boring_classes import BoringModel

from litnets import CNNClassifier, Digits, MLPClassifier
from litnets.__main__ import main
from litnets.runs.recorded_predictions import RecordedPredictions
from tests.conftest import CONFIGS

DIGITS = str(CONFIGS / "digits_mlp.yaml")
SHORT = ["--trainer.max_epochs", "2", "--model.hidden_layer_sizes", "[16]"]


class ThirdPartyModule(BoringModel):
    """A LightningModule that does not use litnets."""

    def on_validation_epoch_end(self) -> None:
        self.log("quality", float(self.current_epoch))


def fit(*options: str) -> Path:
    """Train for two epochs and return the run folder."""
    before = set(Path("checkpoints").glob("*/*"))
    assert main(["fit", "--config", DIGITS, *SHORT, *options]) == 0
    (run,) = set(Path("checkpoints").glob("*/*")) - before
    return run


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error message of a command with a user error."""
    assert main(list(args)) == 2
    message = capsys.readouterr().err
    assert message.startswith("litnets: ")
    assert 1 <= len(message.splitlines()) <= 2, message
    return message


@pytest.mark.parametrize("args", [[], ["--help"], ["--version"]])
def test_help_imports_neither_torch_nor_lightning(args: list[str]) -> None:
    check = "sys.exit(bool({'torch', 'lightning'} & set(sys.modules)))"
    code = f"import sys; from litnets.__main__ import main; main({args}); {check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "litnets" in done.stdout


@pytest.mark.slow
def test_garbage_collection_is_disabled_only_during_imports() -> None:
    code = """
import gc, sys
enabled_at_import = {}
class ImportHook:
    def find_spec(self, name, *args):
        enabled_at_import[name] = gc.isenabled()
sys.meta_path.insert(0, ImportHook())
from litnets.__main__ import main
sys.argv = ["litnets", "fit", "--model", "MLPClassifier", "--data", "Digits", "--print_config"]
assert main() == 0
assert not enabled_at_import["torch"] and not enabled_at_import["lightning.pytorch"], enabled_at_import
assert gc.isenabled()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # for example warnings about objects that were not collected


def test_contents_of_a_run_folder() -> None:
    run = fit()
    assert sorted(p.name for p in run.iterdir()) == [
        "baselines.json",
        "best.ckpt",
        "calibration.json",
        "config.yaml",
        "data.json",
        "environment.json",
        "inputs.parquet",
        "last.ckpt",
        "metrics.csv",
        "results.json",
        "split.npz",
        "tensorboard",
        "test_predictions.parquet",
        "val_predictions.parquet",
    ]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    # The most confident mistakes are those by the calibrated probabilities.
    assert (run / "calibration.json").stat().st_mtime_ns <= (run / "inputs.parquet").stat().st_mtime_ns
    assert [str(p) for p in Path().iterdir()] == ["checkpoints"], "something was written outside the run folder"
    results = json.loads((run / "results.json").read_text())
    assert results["best"]["monitor"] == "val/accuracy"
    assert results["best"]["epoch"] in (1, 2)
    assert results["epochs"] == 2
    assert results["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert results["seconds"] > 0
    assert results["samples_per_second"] > 0
    assert set(results["test"]) == {"loss", "accuracy", "precision", "recall", "f1", "auroc"}
    assert set(results["test_per_class"]) == set("0123456789")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["seed"] == 42
    assert environment["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert environment["hardware"]["cores"] == os.cpu_count()


@pytest.mark.slow
def test_only_the_test_of_the_best_checkpoint_is_recorded() -> None:
    run = fit("--record_predictions", "false")
    test, val = paths = [run / "test_predictions.parquet", run / "val_predictions.parquet"]
    record = ["--record_predictions", "true"]
    for other in ([], ["--ckpt_path", "last", *record], ["--model.label_smoothing", "0.1", *record]):
        assert main(["test", str(run), *other]) == 0
    assert main(["test", str(run), "--split_again", *record]) == 0
    assert not any(path.exists() for path in paths)
    assert main(["test", str(run), "--data.eval_batch_size", "100", *record]) == 0
    results = json.loads((run / "results.json").read_text())
    for path, accuracy in ((test, results["test"]["accuracy"]), (val, results["best"]["score"])):
        frame = RecordedPredictions.load(path).frame
        assert (frame["target"] == frame["prediction"]).mean() == pytest.approx(accuracy, abs=1e-6)
    assert RecordedPredictions.load(test).frame["loss"].mean() == pytest.approx(results["test"]["loss"], rel=1e-6)
    assert not list(run.glob(".*"))  # the lock is released
    assert main(["resume", str(run), "--trainer.max_epochs", "3", "--test_after_fit", "false"]) == 0
    assert not any(path.exists() for path in paths)  # they were those of the previous best checkpoint


def test_fit_prints_results_run_folder_and_next_steps(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit()
    captured = capsys.readouterr()
    assert captured.err == ""
    accuracy = json.loads((run / "results.json").read_text())["test"]["accuracy"]
    assert re.search(rf"^  accuracy +{accuracy:.4f} *$", captured.out, re.MULTILINE)
    assert f"run folder: {run}" in captured.out
    assert f"litnets predict {run} NEW_FILE\n" in captured.out
    for advert in ("litlogger", "litmodels", "Tip", "GPU available"):
        assert advert not in captured.out


def test_the_saved_config_reproduces_the_run() -> None:
    first = fit("--seed_everything", "7")
    assert main(["fit", "--config", str(first / "config.yaml")]) == 0
    second = max(first.parent.iterdir())
    assert second != first
    for name in ("results.json", "metrics.csv"):
        contents = [(run / name).read_text() for run in (first, second)]
        if name == "results.json":
            contents = [{k: v for k, v in json.loads(text).items() if "second" not in k} for text in contents]
        assert contents[0] == contents[1]
    weights = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    other = fit("--seed_everything", "8")
    assert not torch.equal(
        torch.load(other / "last.ckpt")["state_dict"]["net.layers.1.weight"], weights[0]["net.layers.1.weight"]
    )


def test_test_uses_the_best_checkpoint_of_the_run(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = digits_run
    accuracy = json.loads((run / "results.json").read_text())["test"]["accuracy"]
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    out = capsys.readouterr().out
    assert f"{run}/best.ckpt" in out
    assert f"{accuracy:.4f}" in out
    assert main(["validate", "--config", str(run / "config.yaml"), "--ckpt_path", "last"]) == 0
    assert "last.ckpt" in capsys.readouterr().out
    network = ["--model.hidden_layer_sizes", "[8]"]
    assert main(["test", "--config", DIGITS, *network, "--ckpt_path", str(run / "last.ckpt")]) == 0


def test_predict_writes_a_row_for_each_sample(digits_run: Path) -> None:
    assert main(["predict", "--config", str(digits_run / "config.yaml")]) == 0
    with (digits_run / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:7] == ["index", "row", "target", "prediction", "set", "probability", "probability_0"]
    assert [int(row[0]) for row in rows] == list(range(359))
    digits = Digits()
    digits.setup()
    test = digits.splits["test"]
    assert [int(row[1]) - 1 for row in rows] == test.indices.tolist()
    assert [int(row[2]) for row in rows] == test[:][1].tolist()
    probabilities = np.array([row[6:] for row in rows], dtype=float)
    assert [int(row[3]) for row in rows] == probabilities.argmax(1).tolist()
    assert all(row[3] in row[4].split("|") for row in rows)
    np.testing.assert_array_equal([float(row[5]) for row in rows], probabilities.max(1))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)


@pytest.mark.slow
def test_a_modelcheckpoint_of_the_user_writes_into_the_run_folder() -> None:
    callback = "{class_path: ModelCheckpoint, init_args: {save_top_k: -1, monitor: null}}"
    Path("mine.yaml").write_text(f"trainer: {{callbacks: [{callback}]}}")
    run = fit("--config", "mine.yaml", "--test_after_fit", "false", "--experiment", "digits_mlp")
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert saved == ["epoch=0-step=17.ckpt", "epoch=1-step=34.ckpt"]
    assert sorted(path.name for path in Path().iterdir()) == ["checkpoints", "mine.yaml"]
    assert (run / "best.ckpt").exists()
    assert main(["fit", "--config", DIGITS, "--config", "mine.yaml", "--trainer.fast_dev_run", "true"]) == 0


@pytest.mark.slow
def test_predictions_are_not_overwritten_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit()
    assert main(["predict", str(run), "--output", "mine.csv"]) == 0
    assert capsys.readouterr().out.endswith("predictions: mine.csv\n")
    assert not (run / "predictions.csv").exists()
    for output in ("mine.csv", f"{run}/predictions.csv"):
        Path(output).write_text("kept")
        options = ["--output", output] if output == "mine.csv" else []
        message = error(capsys, "predict", str(run), *options)
        assert message == f"litnets: {output} exists; --overwrite replaces it, --output FILE writes another file\n"
        assert Path(output).read_text() == "kept"
        assert main(["predict", str(run), *options, "--overwrite"]) == 0
        assert Path(output).read_text().startswith("index,row,target,")
    assert "--output none/a.csv is in no existing folder" in error(
        capsys, "predict", str(run), "--output", "none/a.csv"
    )
    # A run that another process trains is not written into.
    Path("copy").mkdir()
    shutil.copy(run / "best.ckpt", "copy/alone.ckpt")
    command = ["predict", "--config", DIGITS, *SHORT, "--ckpt_path", "copy/alone.ckpt", "--output", "alone.csv"]
    assert main(command) == 0
    assert len(Path("alone.csv").read_text().splitlines()) == 360
    assert len(list(Path("checkpoints").glob("*/*"))) == 1, "a folder was created for a run that writes elsewhere"


def test_load_from_checkpoint_restores_the_network(digits_run: Path) -> None:
    model = MLPClassifier.load_from_checkpoint(digits_run / "best.ckpt", weights_only=True)
    assert tuple(model.hparams["input_shape"]) == (1, 8, 8)
    assert model.hparams["hidden_layer_sizes"] == [8]
    saved = torch.load(digits_run / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("model", ["MLPClassifier", "CNNClassifier", "RNNClassifier"])
def test_fast_dev_run_of_any_network_leaves_nothing_behind(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", model, "--data", "Digits", "--trainer.fast_dev_run", "true"]) == 0
    assert "nothing was kept" in capsys.readouterr().out
    assert list(Path().iterdir()) == []


def test_callbacks_are_configured_by_options() -> None:
    run = fit(
        "--early_stopping.patience",
        "1",
        "--trainer.max_epochs",
        "30",
        "--model.lr",
        "1e-9",
    )
    assert json.loads((run / "results.json").read_text())["epochs"] == 2


def test_monitor_mode_follows_the_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--monitor", "val/loss", "--test_after_fit", "false")
    out = capsys.readouterr().out
    assert re.search(r"epoch 1/2  train/loss \d\.\d{4}  val/loss \d\.\d{4}  val/accuracy \d\.\d{4}  ", out)
    results = json.loads((run / "results.json").read_text())
    rows = (run / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/loss")
    assert results["best"]["score"] == pytest.approx(
        min(float(r.split(",")[column]) for r in rows[1:] if r.split(",")[column])
    )
    assert "test" not in results


def test_auto_precision_is_resolved_in_the_saved_config() -> None:
    run = fit("--trainer.precision", "auto", "--test_after_fit", "false")
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] in ("32-true", "bf16-mixed")


def test_later_configs_and_options_override_earlier_ones(capsys: pytest.CaptureFixture[str]) -> None:
    Path("more.yaml").write_text("trainer: {max_epochs: 3}\nmodel: {init_args: {dropout: 0.125}}\n")
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", DIGITS, "--config", "more.yaml", "--data.batch_size", "32", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["max_epochs"] == 3
    assert config["model"]["init_args"]["dropout"] == 0.125
    assert config["data"]["init_args"]["batch_size"] == 32
    assert config["model"]["class_path"].endswith("MLPClassifier")


@pytest.mark.parametrize(
    ("what", "name", "expected"), [("model", "MLPClassifier", "label_smoothing"), ("data", "Digits", "val_size")]
)
def test_help_of_a_class_lists_inherited_options(
    what: str, name: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--{what}.help", name])
    out = capsys.readouterr().out
    assert expected in out
    for option in ("lr", "optimizer") if what == "model" else ("batch_size", "augment"):
        assert f"--{what}.init_args.{option} " in out or f"--{what}.{option} " in out


@pytest.mark.slow
def test_python_m_litnets() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "litnets", "fit", "--modell", "x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "litnets: no option 'modell'; did you mean 'model'?\n"


USER_ERRORS = {
    "fitt --config {c}": "no command 'fitt'; did you mean 'fit'?",
    "resum": "did you mean 'resume'? (choose from: fit, validate, ",
    "--config {c} fit": "the command comes first: litnets fit --config {c}",
    "fit": "--data and --model not given",
    "fit --config {c} --model.lrr 3": "MLPClassifier has no option 'lrr'; did you mean 'lr'?",
    "fit --config {c} --data.batchsize 3": "Digits has no option 'batchsize'; did you mean 'batch_size'?",
    "fit --model CNNClassifier --data MNIST --data.root x": "MNIST has no option 'root'; did you mean --data.data_dir?",
    "fit --config {c} --trainer.max_epoch 3": "no option --trainer.max_epoch; did you mean --trainer.max_epochs 3?",
    "fit --config {c} --trainer.max_epochs many": "trainer.max_epochs: expected a whole number, got 'many'",
    "fit --config {c} --keep_epochs 0": "keep_epochs: expected a number of at least 2, got '0'",
    "fit --config {c} --stop_after_epoch 1.5": "stop_after_epoch: expected a whole number, got '1.5'; write",
    "fit --config {c} --trainer.precision bf17": "trainer.precision: no 'bf17'; did you mean 'bf16'?",
    "fit --config {c} --trainer.accelerator gpuu": "gpuu",
    "fit --config {c} --trainer.devices 0": "devices",
    "fit --config {c} --trainer.callbacks RichProgresBar": "no class 'RichProgresBar'; did you mean 'RichProgressBar'?",
    "fit --config {c} --model.activation reluu": "model.activation: no 'reluu'; did you mean 'relu'?",
    "fit --config {c} --model.hidden_layer_sizes wide": "model.hidden_layer_sizes: expected a list, got 'wide'",
    "fit --config {c} --model.dropout 3": "dropout",
    "fit --config {c} --model.optimizer Adamw": "optimizer: no class 'Adamw'; did you mean 'AdamW'?",
    "fit --config {c} --model.lr_scheduler CosineLR": "lr_scheduler: no class 'CosineLR'",
    "fit --config {c} --model.class_weights [1,2]": "class_weights: expected 10 numbers, one per class, got 2",
    "fit --config {c} --monitor val/acc": "no metric 'val/acc'; did you mean 'val/accuracy'?",
    "fit --config {c} --data.val_size 2000": "leave none for training",
    "fit --config {c} --ckpt_path best": "--ckpt_path best: of which run?",
    "fit --config {c} --ckpt_path nope.ckpt": "checkpoint nope.ckpt: no such file",
    "fit --config {c} --ckpt_path a.ckpt": "--ckpt_path a.ckpt: `litnets resume RUN` resumes a run",
    "fit --config {c} --trainer.limit_val_batches 0": "limit_val_batches: nothing is validated, but val/accuracy",
    "fit --model wrong.Net --data Digits": "model: wrong.Net: '(' was never closed (wrong.py, line 1)",
    "fit --model lacks.Net --data Digits": "model: lacks.Net: No module named 'notthere'",
    "fit --model right.Nope --data Digits": "model: right.Nope: module 'right' has no attribute 'Nope'",
    "fit --model nomod.Net --data Digits": "model: no class 'nomod.Net'",
    "fit --config {c} --runs_dir a_file": "the run folder",
    "fit --model MLPClasifier --data Digits": "model: no class 'MLPClasifier'; did you mean 'MLPClassifier'?",
    "fit --model MLPClassifier --data Digit": "data: no class 'Digit'; did you mean 'Digits'?",
    "fit --model MLPClassifier --data TableCSV": "--data.path and --data.target not given, which TableCSV needs",
    "fit --config nowhere/digits_mlp.yaml": "config: no file",
    "fit --config configs/digits_mlp.yaml": "the shipped configurations are in a clone of litnets",
    "fit --config a_folder": "not a file",
    "fit --config empty.yaml": "the file is empty",
    "fit --config broken.yaml": "not valid YAML",
    "fit --config binary.yaml": "config: cannot be read",
    "fit --config typo.yaml": "no option 'trainer.max_epoch'; did you mean 'trainer.max_epochs'?",
    "test --config {c}": "test needs a checkpoint",
    "test --config {c} --ckpt_path empty.yaml": "not a checkpoint that loads safely",
    "test --config {c} --ckpt_path a_folder": "a folder, not a file",
}


@pytest.mark.parametrize("command", USER_ERRORS)
def test_user_errors_are_one_or_two_lines(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a_folder").mkdir()
    for name, content in {
        "a_file": b"",
        "a.ckpt": b"",
        "wrong.py": b"x = (",
        "lacks.py": b"import notthere",
        "right.py": b"",
        "empty.yaml": b"",
        "broken.yaml": b"model: [1",
        "binary.yaml": b"\0\xff\xfe",
    }.items():
        Path(name).write_bytes(content)
    Path("typo.yaml").write_text("model: MLPClassifier\ndata: Digits\ntrainer:\n  max_epoch: 3\n")
    before = sorted(Path().rglob("*"))
    assert USER_ERRORS[command].format(c=DIGITS) in error(capsys, *command.format(c=DIGITS).split())
    assert sorted(Path().rglob("*")) == before, "a run that did not start left files behind"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["fit", "--debug", "--config", DIGITS, "--model.lrr", "1"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("LITNETS_DEBUG", "1")
    assert main(["fit", "--config", DIGITS, "--model.lrr", "1"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_mismatched_or_damaged_checkpoints_are_refused(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = digits_run
    message = error(capsys, "test", "--config", str(run / "config.yaml"), "--model.hidden_layer_sizes", "[17]")
    assert "net.layers.1.weight is (8, 64) in the checkpoint, (17, 64) in the model" in message
    assert "has no" in error(
        capsys, "test", "--model", "CNNClassifier", "--data", "Digits", "--ckpt_path", str(run / "best.ckpt")
    )
    (run / "best.ckpt").write_bytes((run / "best.ckpt").read_bytes()[:1000])
    assert "not a checkpoint that loads safely" in error(capsys, "test", "--config", str(run / "config.yaml"))
    (run / "best.ckpt").unlink()
    assert "has no best.ckpt" in error(capsys, "test", "--config", str(run / "config.yaml"))


def test_third_party_modules_need_a_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, "fit", "--model", "BoringModel", "--data", "BoringDataModule")
    assert message == "litnets: BoringModel names no metric to monitor; give --monitor NAME\n"
    options = ["--trainer.max_epochs", "2", "--monitor", "quality", "--monitor_mode", "max"]
    assert main(["fit", "--model", "ThirdPartyModule", "--data", "BoringDataModule", *options]) == 0
    (run,) = Path("checkpoints/boringdatamodule_thirdpartymodule").iterdir()
    assert json.loads((run / "results.json").read_text())["best"] == {"monitor": "quality", "score": 1.0, "epoch": 2}


def test_a_monitor_that_a_third_party_module_does_not_log(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.max_epochs", "1", "--monitor", "qualiti", "--monitor_mode", "max"]
    message = error(capsys, "fit", "--model", "ThirdPartyModule", "--data", "BoringDataModule", *options)
    assert message.count("\n") == 1
    assert "`qualiti` which is not available" in message
    assert "`quality`" in message


class LogsInTraining(BoringModel):
    """A module whose monitored metric is logged in training, and whose test metric has a custom name."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("quality", float(self.current_epoch % 2), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_quality", 0.25)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch.sum(1)


class WithoutValidation(LogsInTraining):
    """The same module without a validation step."""

    validation_step = LightningModule.validation_step


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`")
@pytest.mark.parametrize("kind", ["LogsInTraining", "WithoutValidation"])
def test_a_custom_monitor_logged_in_training(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.max_epochs", "3", "--monitor", "quality", "--monitor_mode", "max"]
    assert main(["fit", "--model", kind, "--data", "BoringDataModule", *options]) == 0
    assert "test_quality   0.2500" in capsys.readouterr().out
    (run,) = Path(f"checkpoints/boringdatamodule_{kind.lower()}").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert results["best"] == {"monitor": "quality", "score": 1.0, "epoch": 2}
    assert results["test"] == {"test_quality": 0.25}
    assert torch.load(run / "best.ckpt", weights_only=True)["epoch"] == 2  # the index of the next epoch
    assert main(["resume", str(run)]) == 0
    assert "is finished: 3 of 3 epochs" in capsys.readouterr().out
    assert main(["predict", "--config", str(run / "config.yaml")]) == 0
    assert (run / "predictions.csv").read_text().startswith("index,prediction\n0,")


class PathHyperparameter(BoringModel):
    """A module with a hyperparameter that is not a plain value."""

    def __init__(self, pretrained: Path = Path("net.pt")) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_hyperparameters_that_a_checkpoint_cannot_restore_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, "fit", "--model", "PathHyperparameter", "--data", "BoringDataModule", "--monitor", "x")
    assert "PathHyperparameter: its hyperparameter 'pretrained' is a PosixPath" in message
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.limit_train_batches", "0"], "trainer.limit_train_batches: expected more than 0"),
        (["--trainer.limit_train_batches", "0.001"], "limit_train_batches"),
        (["--trainer.max_epochs", "-1"], "lr_scheduler OneCycleLR needs to know how long training is"),
        (["--trainer.callbacks+", "EMA", "--trainer.callbacks+", "EMA"], "trainer: Found more than one"),
    ],
)
def test_a_user_error_leaves_no_run_folder(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error(capsys, "fit", "--config", DIGITS, *options)
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--monitor", "train/loss", "--trainer.val_check_interval", "0.5"],
        ["--trainer.num_sanity_val_steps", "0", "--trainer.check_val_every_n_epoch", "2"],
        ["--trainer.log_every_n_steps", "0"],
        ["--config", "{trainer: {max_epochs: 1}}"],
        [
            *("--model.lr_scheduler", "ReduceLROnPlateau", "--trainer.check_val_every_n_epoch", "2"),
            *("--model.lr_scheduler_args", "{patience: 0, factor: 0.5, threshold: 1.0}", "--trainer.max_epochs", "4"),
        ],
    ],
    ids=[
        "monitor train/loss within an epoch",
        "no validation before the second epoch",
        "no step logging",
        "inline config",
        "plateau every second epoch",
    ],
)
def test_compatible_options(options: list[str]) -> None:
    run = fit(*options)
    assert (run / "best.ckpt").exists()
    if "ReduceLROnPlateau" in options:
        (group, _) = torch.load(run / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
        # The first check, in epoch 2, is the best so far. The second, in epoch 4, does not improve on it by 100%.
        assert group["lr"] == 0.5 * group["initial_lr"]


def test_image_networks_refuse_other_inputs() -> None:
    with pytest.raises(ValueError, match="reads images"):
        CNNClassifier(input_shape=(13,), num_classes=3)


@pytest.mark.slow
def test_two_processes_predict_one_sample() -> None:
    """A series has a single forecast: the steps after its end."""
    Path("series.csv").write_text("t,a\n" + "".join(f"{t},{t % 7}\n" for t in range(200)))
    model = ["--model", "LinearForecaster", "--data", "SeriesCSV", "--data.path", "series.csv", "--experiment", "one"]
    sizes = ["--data.look_back", "14", "--data.horizon", "3", "--trainer.max_epochs", "1"]
    two_processes = ["--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    litnets = [sys.executable, "-m", "litnets"]
    subprocess.run([*litnets, "fit", *model, *sizes, *two_processes], check=True)
    (run,) = Path("checkpoints/one").iterdir()
    predict = ["predict", str(run), "--overwrite", "--data.predict_path", "series.csv"]
    subprocess.run([*litnets, *predict], check=True, timeout=300)
    header, *rows = (run / "predictions.csv").read_text().splitlines()
    assert header == "index,step,time,prediction_a,lower_a,upper_a"
    assert main([*predict, "--trainer.devices", "1", "--trainer.strategy", "auto"]) == 0
    assert rows == (run / "predictions.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:3] for row in rows] == [["0", "1", "200"], ["0", "2", "201"], ["0", "3", "202"]]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_test_every_sample_once(strategy: str) -> None:
    command = [sys.executable, "-m", "litnets", "fit", "--config", DIGITS, *SHORT]
    subprocess.run(
        [*command, "--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", strategy], check=True
    )
    (run,) = Path("checkpoints/digits_mlp").iterdir()
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) >= 3, "the rows logged in training are missing"
    test_results = json.loads((run / "results.json").read_text())["test"]
    assert (
        main(["predict", "--config", str(run / "config.yaml"), "--trainer.devices", "1", "--trainer.strategy", "auto"])
        == 0
    )
    recorded = RecordedPredictions.load(run / "test_predictions.parquet").frame
    assert recorded["index"].to_list() == list(range(359))
    assert (recorded["target"] == recorded["prediction"]).mean() == pytest.approx(test_results["accuracy"], abs=1e-6)
    assert recorded["loss"].mean() == pytest.approx(test_results["loss"], rel=1e-6)
    digits = Digits()
    digits.setup()
    targets = digits.splits["test"][torch.arange(359)][1]
    with (run / "predictions.csv").open() as file:
        predicted = [int(row["prediction"]) for row in csv.DictReader(file)]
    assert test_results["accuracy"] == pytest.approx(
        (torch.tensor(predicted) == targets).float().mean().item(), abs=1e-6
    )


@pytest.mark.slow
def test_callbacks_are_found_by_class_name() -> None:
    # Run in a separate process: another test may have imported litnets.callbacks, which would make the names available.
    command = [sys.executable, "-m", "litnets", "fit", "--model", "MLPClassifier", "--data", "Digits"]
    command += ["--trainer.callbacks+", "EMA", "--trainer.callbacks+", "Lookahead", "--print_config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "class_path: litnets.EMA" in done.stdout
    assert "class_path: litnets.Lookahead" in done.stdout
