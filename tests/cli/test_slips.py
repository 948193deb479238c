"""Errors for wrong commands name the arguments that work."""

import io
import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser, capture_parser

from litnets.__main__ import main
from litnets.cli import slips
from litnets.cli.app import LitnetsCLI
from litnets.cli.commands import COMMANDS, check_command
from litnets.cli.error_messages import class_options, format_build_error, parse_options
from litnets.errors import InputError
from litnets.internals import subparsers
from litnets.training.signals import Signals
from tests.conftest import CONFIGS

OPTIONS = {
    # The option has another name here, or belongs to a group.
    "--lr 0.01": "--model.lr 0.01",
    "--lr=0.01": "--model.lr 0.01",
    "-lr 0.01": "--model.lr 0.01",
    "--learning-rate 0.01": "--model.lr 0.01",
    "--trainer.lr 0.01": "--model.lr 0.01",
    "--epochs 5": "--trainer.max_epochs 5",
    "--max_epochs 5": "--trainer.max_epochs 5",
    "--max-epochs=5": "--trainer.max_epochs 5",
    "--trainer.epochs 5": "--trainer.max_epochs 5",
    "--max_steps 100": "--trainer.max_steps 100",
    "--batch_size 32": "--data.batch_size 32",
    "--bs 32": "--data.batch_size 32",
    "--workers 2": "--data.num_workers 2",
    "--num-workers 2": "--data.num_workers 2",
    "--dropout 0.1": "--model.dropout 0.1",
    "--hidden_layer_sizes [64]": "--model.hidden_layer_sizes '[64]'",
    "--optimizer SGD": "--model.optimizer SGD",
    "--scheduler OneCycleLR": "--model.lr_scheduler OneCycleLR",
    "--weight_decay 0.1": "--model.weight_decay 0.1",
    "--path my.csv": "--data.path my.csv",
    "--target 'the class'": "--data.target 'the class'",
    "--patience 5": "--early_stopping.patience 5",
    "--seed 1": "--seed_everything 1",
    "--gpu 0": "--trainer.accelerator gpu",
    "--gpus 2": "--trainer.devices 2",
    "--trainer.gpus 1": "--trainer.devices 1",
    "--device cuda": "--trainer.accelerator cuda",
    "--cpu": "--trainer.accelerator cpu",
    "--fp16": "--trainer.precision 16-mixed",
    "--precision bf16-mixed": "--trainer.precision bf16-mixed",
    "--name first": "--experiment first",
    "--output_dir out": "--runs_dir out",
    "--wandb": "--wandb.mode online",
    "--project mine": "--wandb.project mine",
    "--checkpoint a.ckpt": "--init_from a.ckpt",
    "--pretrained a.ckpt": "--init_from a.ckpt",
    "--resume": "`litnets resume RUN`",
    "--resume checkpoints/a/b": "`litnets resume checkpoints/a/b`",
    "--cfg digits.yaml": "--config digits.yaml",
    "--no_test_after_fit": "--test_after_fit false",
    "--seeds_everything 1": "did you mean 'seed_everything'?",
    # It is no option.
    "model.lr=0.01": "`litnets fit --config FILE` or --key value",
    "--model MLPClassifier model.lr=0.01": "--model.lr 0.01",
    "digits_mlp": "`litnets fit --config configs/digits_mlp.yaml`",
    "configs/digits_mlp.yaml --model.lr 0.01": "`litnets fit --config configs/digits_mlp.yaml --model.lr 0.01`",
    "help": "`litnets fit --help`",
    # There is no such file or class.
    "--config digits_mlp": "--config configs/digits_mlp.yaml",
    "--config digits_mlp.yaml": "--config configs/digits_mlp.yaml",
    "--config configs/digits_mlp": "--config configs/digits_mlp.yaml",
    "--config configs/digits_mpl.yaml": "did you mean 'digits_mlp.yaml'?",
    "-config digits_mlp": "--config FILE",
    "--model MLP": "did you mean 'MLPClassifier'?",
    "--model mlpclassifier": "did you mean 'MLPClassifier'?",
    "--data mnist": "did you mean 'MNIST'?",
    "--data my.csv": "--data TableCSV --data.path my.csv --data.target COLUMN",
    "--data configs": "--data ImageFolder --data.root configs",
    "--model.help": "`litnets fit --model.help MLPClassifier`",
    "--model.help MLP": "model.help: no class 'MLP'; did you mean 'MLPClassifier'?",
    "--trainer.callbacks EarlyStoping": "did you mean 'EarlyStopping'?",
    "--trainer.logger wandb": "did you mean 'WandbLogger'?",
    # The class has no such option.
    "--model MLPClassifier --model.learning_rate 0.1": "--model.lr 0.1",
    "--model MLPClassifier --model.scheduler OneCycleLR": "--model.lr_scheduler OneCycleLR",
    "--model MLPClassifier --model.batch_size 32": "--data.batch_size 32",
    "--data Digits --data.lr 0.1": "--model.lr 0.1",
    "--data Digits --data.batchsize 32": "did you mean 'batch_size'?",
    "--model.lr 0.1": "--model MLPClassifier",
    # The value has the wrong kind.
    "--trainer.max_epochs 1.5": "--trainer.max_epochs 2",
    "--trainer.max_epochs 1e2": "--trainer.max_epochs 100",
    "--data Digits --data.batch_size 10^30": "--data.batch_size 32",
    "--model MLPClassifier --model.lr 0,01": "--model.lr 0.01",
    "--model MLPClassifier --model.hidden_layer_sizes 64,32": "--model.hidden_layer_sizes '[64, 32]'",
    "--model MLPClassifier --model.hidden_layer_sizes '64 32'": "--model.hidden_layer_sizes '[64, 32]'",
    "--model MLPClassifier --model.hidden_layer_sizes 64 32": "--model.hidden_layer_sizes '[64, 32]'",
    "--model MLPClassifier --model.hidden_layer_sizes '(64, 32)'": "--model.hidden_layer_sizes '[64, 32]'",
    "--data Digits --data.val_size 20%": "--data.val_size 0.2",
    "--data Digits --data.val_size some": "for example --data.val_size 0.1",
    "--model MLPClassifier --model.hidden_layer_sizes [64,a]": "expected a whole number, got 'a'",
    "--input new.csv": "--data.predict_path new.csv",
    "--test_after_fit nope": "--test_after_fit false",
    "--test_after_fit": "--test_after_fit true",
    "--trainer 5": "--trainer.KEY VALUE",
    "--config": "--config FILE",
    "--data TableCSV --data.path a --data.target b --data.ignore [1e3,b]": """--data.ignore '["1e3", "b"]'""",
    "--config year.yaml": 'target: "2020"',
    "--config names.yaml": 'experiment: "1e3"',
    "--config columns.yaml": 'ignore: "on"',
    "--config twice.yaml": "twice.yaml: the key 'model' is there twice, in lines 1 and 3",
    "": "give --model CLASS --data CLASS",
}
FILES = {
    "my.csv": "a,b\n",
    "year.yaml": "data:\n  class_path: TableCSV\n  init_args: {path: a.csv, target: 2020}\n",
    "names.yaml": "experiment: 1e3\n",
    "columns.yaml": "data:\n  class_path: TableCSV\n  init_args: {path: a, target: b, ignore: [x, on]}\n",
    "twice.yaml": "model: MLPClassifier\ndata: Digits\nmodel: CNNClassifier\n",
}
COMMAND_LINES = {
    "train --config a.yaml": "did you mean 'fit'?",
    "evaluate": "did you mean 'test'?",
    "eval": "did you mean 'test'?",
    "val": "did you mean 'validate'?",
    "inference": "did you mean 'predict'?",
    "continue": "did you mean 'resume'?",
    "fitt": "did you mean 'fit'?",
    "digits_mlp": "`litnets fit --config configs/digits_mlp.yaml`",
    "configs/digits_mlp.yaml --model.lr 1": "`litnets fit --config configs/digits_mlp.yaml --model.lr 1`",
    "--model.help MLPClassifier": "litnets fit --model.help MLPClassifier",
    "--config a.yaml test": "litnets test --config a.yaml",
}


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    with Signals() as signals:
        return capture_parser(lambda: LitnetsCLI(["fit"], signals))


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("configs").symlink_to(CONFIGS)
    for name, content in FILES.items():
        Path(name).write_text(content)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_error_for_a_wrong_option_names_the_right_one(options: str, parser: ArgumentParser) -> None:
    with pytest.raises(InputError) as error:
        parse_options(parser, subparsers(parser)["fit"], ["fit", *shlex.split(options)])
    assert OPTIONS[options] in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_the_error_for_a_wrong_command_names_the_right_one(command: str) -> None:
    with pytest.raises(InputError) as error:
        check_command(shlex.split(command))
    assert COMMAND_LINES[command] in str(error.value)


@pytest.mark.parametrize(("command", "option"), [("predict", "--data.predict_path"), ("test", "--on")])
def test_the_error_for_a_file_after_the_run_names_the_option_for_it(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text("x\n1\n", encoding="utf-8")
    assert main([command, "--config", str(CONFIGS / "xor_mlp.yaml"), "--ckpt_path", "a.ckpt", "new.csv"]) == 2
    assert capsys.readouterr().err == f"litnets: new.csv is not an option; did you mean {option} new.csv?\n"


def test_every_option_and_command_of_the_tables_exists(parser: ArgumentParser) -> None:
    known = {"model", "data", "config", *class_options(), *subparsers(parser)["fit"].get_defaults().keys()}
    assert {option.partition(" ")[0] for option in slips.OPTIONS.values()} <= known
    assert set(slips.COMMANDS.values()) <= set(COMMANDS)
    with_value = sorted({option for option in slips.OPTIONS.values() if " " in option})
    for option in with_value:
        args = ["fit", "--model", "MLPClassifier", "--data", "Digits", *f"--{option}".split()]
        parse_options(parser, subparsers(parser)["fit"], args)


def test_a_checkpoint_is_read_by_ckpt_path_except_in_fit() -> None:
    assert slips.correct_option("ckpt", ["test", "--ckpt", "a.ckpt"], []) == "--ckpt_path a.ckpt"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without an Apple GPU")
@pytest.mark.parametrize("options", ["--trainer.accelerator mps", "--trainer.devices 0"])
def test_the_error_for_a_missing_device_suggests_auto(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "MLPClassifier", "--data", "Digits", *options.split()]) == 2
    assert "auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("No supported gpu backend found!", "--trainer.accelerator auto"),
        ("`CUDAAccelerator` can not run on your system since the accelerator", "--trainer.accelerator auto"),
        ("`devices` selected with `CPUAccelerator` should be an int > 0.", "--trainer.devices 1"),
        ("anything else", "anything else"),
    ],
)
def test_errors_about_devices_suggest_an_option(message: str, hint: str) -> None:
    assert hint in format_build_error(ValueError(message))


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["help", "test"])
    assert "usage: litnets [options] test" in capsys.readouterr().out


def test_a_closed_pipe_is_not_an_error_of_the_options(parser: ArgumentParser, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
        args = ["fit", "--model", "MLPClassifier", "--data", "Digits", "--print_config"]
        with pytest.raises(BrokenPipeError):
            parse_options(parser, subparsers(parser)["fit"], args)
