"""The help of commands and classes says what a user can give, in words."""

import re

import pytest
from jsonargparse import ArgumentParser, capture_parser
from lightning.pytorch import Callback, LightningDataModule, LightningModule

import litnets
from litnets.cli.app import LitnetsCLI
from litnets.data.core.base import LINKED_ATTRIBUTES
from litnets.internals import subparsers
from litnets.tracking.wandb_logger import WandbOptions
from litnets.training.checkpoints.saving import Checkpoint
from litnets.training.signals import Signals

CODE = re.compile(r"<lambda>|<function|<class|<litnets| object at 0x|==SUPPRESS==|functools\.partial")
BASES = (LightningModule, LightningDataModule, Callback, litnets.Augmentation)
CLASSES = [value for name in litnets.__all__ if isinstance(value := getattr(litnets, name), type)]
CLASSES = [cls for cls in CLASSES if issubclass(cls, BASES)] + [WandbOptions, Checkpoint]


def parser_of(command: str) -> ArgumentParser:
    with Signals() as signals:
        return capture_parser(lambda: LitnetsCLI([command], signals))


@pytest.fixture(scope="module")
def fit() -> ArgumentParser:
    return parser_of("fit")


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_a_command(command: str, fit: ArgumentParser) -> None:
    parser = fit if command == "fit" else parser_of(command)
    text = subparsers(parser)[command].format_help()
    assert "--trainer.max_epochs" in text
    assert not CODE.search(text)
    assert "Linked arguments" not in text
    assert "The model:" in text
    assert "The data:" in text


@pytest.mark.parametrize("cls", CLASSES)
def test_help_of_a_class(cls: type) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "part", fail_untyped=False)
    assert parser.groups is not None
    title = str(parser.groups["part"].title)
    assert re.match(r"[A-Z0-9]", title), "the summary begins with a capital letter"
    assert not re.search(r"([,;:(-]|\b(the|a|an|of|and|or|to|with|for|in))$", title), "the summary is cut off"
    assert not CODE.search(parser.format_help())
    linked = {*LINKED_ATTRIBUTES, "monitor"}
    for action in parser._actions:
        name = action.dest.removeprefix("part.")
        if name == action.dest or action.required or action.default is not None or name in linked:
            continue
        assert re.search(r"[Dd]efault|[Nn]ull|None|^Deprecated", str(action.help)), f"{name}: what does None mean?"


@pytest.mark.parametrize("name", ["MLPClassifier", "RNNRegressor", "CNNForecaster"])
def test_help_of_a_model_leaves_out_what_the_data_fill_in(
    name: str, fit: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit.parse_args(["fit", "--model.help", name])
    text = capsys.readouterr().out
    assert "--model.lr LR" in text
    assert "required" not in text
    assert not [attribute for attribute in LINKED_ATTRIBUTES if f"--model.{attribute} " in text]
