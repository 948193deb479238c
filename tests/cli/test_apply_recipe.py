"""Which options the default recipe sets, and that a run repeats them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from litnets.__main__ import main
from litnets.cli.app import LitnetsCLI
from litnets.cli.apply_recipe import (
    _steps_per_epoch,
    build_datamodule,
    choose_options,
    options_set_by_user,
    repeat_choices,
)
from litnets.internals import subcommand_parser
from litnets.training.signals import Signals
from tests.helpers.tiny_series import waves, write_series
from tests.helpers.tiny_tables import write_csv
from tests.helpers.tiny_text import rows, write_texts

TABLE = ["--data", "TableCSV", "--data.path", "table.csv", "--data.target", "bought"]
TEXTS = ["--data", "TextFiles", "--data.path", "texts.csv"]


class ParsedOptions(LitnetsCLI):
    """The parsed options of a command, of which nothing is built or run."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def parse(*args: str) -> ParsedOptions:
    with Signals() as signals:
        return ParsedOptions(["fit", *args], signals)


def choose(*args: str) -> tuple[Any, Any, list[str]]:
    """Apply the recipe. Return the options, the DataModule and the lines for the user."""
    cli = parse(*args)
    datamodule = build_datamodule(cli.options.data)
    lines = choose_options(cli.options, options_set_by_user(cli.parser, cli._args), datamodule)
    return cli.options, datamodule, lines


def test_options_of_the_command_line_and_of_configurations_are_set_by_the_user() -> None:
    config = {"model": {"class_path": "MLPClassifier", "init_args": {"lr": None}}, "trainer": {"max_epochs": 20}}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    cli = parse("--config", "mine.yaml", "--data", "Digits", "--data.batch_size=128", "--monitor", "val/loss")
    names = options_set_by_user(cli.parser, cli._args)
    assert {"model.lr", "trainer.max_epochs", "data.batch_size", "monitor"} <= names
    assert not {"model.dropout", "data.val_size", "monitor_mode", "early_stopping.patience"} & names


def test_unset_options_are_chosen_and_set_options_kept() -> None:
    write_csv(Path("table.csv"))
    options, datamodule, lines = choose("--model", "MLPClassifier", "--model.dropout", "0", *TABLE)
    assert options.model.init_args.dropout == 0
    assert options.model.init_args.lr is not None
    assert options.model.init_args.lr_scheduler == "WarmupCosineLR"
    assert options.data.init_args.batch_size == datamodule.batch_size == 8
    steps = -(-len(datamodule.splits["train"]) // 8)
    assert options.trainer.max_epochs * steps >= 600
    assert options.monitor == options.checkpoint.monitor == options.early_stopping.monitor == "val/loss"
    assert options.checkpoint.mode == options.early_stopping.mode == "min"
    (line,) = lines
    assert line.startswith(f"recipe: {options.trainer.max_epochs} epochs of {steps} steps; ")
    assert "batch_size 8, " in line
    assert "dropout" not in line


@pytest.mark.parametrize(
    ("args", "unset"),
    [
        (["--model.optimizer", "SGD"], {"lr": None, "weight_decay": None}),
        (["--model.lr_scheduler", "null"], {"lr_scheduler": None}),
    ],
)
def test_options_that_depend_on_a_set_option_are_left_alone(args: list[str], unset: dict[str, Any]) -> None:
    write_csv(Path("table.csv"))
    options, *_ = choose("--model", "MLPClassifier", *args, *TABLE)
    assert {name: options.model.init_args[name] for name in unset} == unset


def test_the_rate_of_a_u_net_is_for_random_weights() -> None:
    network = ["--model", "TorchvisionUNetSegmenter", "--data", "Shapes", "--data.samples", "20", "--data.size", "16"]
    assert choose(*network)[0].model.init_args.lr == 0.003
    assert choose(*network, "--model.weights", "auto")[0].model.init_args.lr is None


def test_max_steps_determines_the_epochs() -> None:
    write_csv(Path("table.csv"))
    options, *_ = choose("--model", "MLPClassifier", "--trainer.max_steps", "50", *TABLE)
    assert options.trainer.max_epochs == 10  # of 5 steps


def test_training_without_an_end_gets_no_schedule() -> None:
    write_csv(Path("table.csv"))
    options, _, (line,) = choose("--model", "MLPClassifier", "--trainer.max_epochs=-1", *TABLE)
    assert line.startswith("recipe: unlimited epochs; ")
    assert options.trainer.max_epochs == -1
    assert options.model.init_args.lr_scheduler is None


@pytest.mark.parametrize(
    ("args", "steps"),
    [
        ([], 5),
        (["--trainer.accumulate_grad_batches", "2"], 3),
        (["--trainer.limit_train_batches", "2"], 2),
        (["--trainer.limit_train_batches", "0.5"], 2),
        (["--trainer.devices", "2"], 3),
    ],
)
def test_steps_per_epoch_follow_the_trainer(args: list[str], steps: int) -> None:
    assert (
        _steps_per_epoch(parse("--model", "MLPClassifier", "--data", "Digits", *args).options.trainer, 36, 8) == steps
    )


def test_texts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from litnets.data import TextFiles

    reads = []
    read = TextFiles.read
    monkeypatch.setattr(TextFiles, "read", lambda self: reads.append(self) or read(self))
    write_texts(Path("texts.csv"), [(text.upper(), label) for text, label in rows()])
    options, datamodule, _ = choose("--model", "CNN1dClassifier", *TEXTS)
    assert reads == [datamodule]
    assert options.data.init_args.tokens == "words"
    assert options.data.init_args.lowercase is datamodule.lowercase is True
    assert "good" in datamodule.vocabulary.tokens
    assert datamodule.token_dropout == options.data.init_args.token_dropout > 0
    assert options.model.init_args.embedding_scale < 1


def test_names_are_read_by_characters_in_the_case_of_the_user() -> None:
    write_texts(Path("texts.csv"), [(text.split()[0], label) for text, label in rows()])
    options, datamodule, _ = choose("--model", "CNN1dClassifier", *TEXTS, "--data.lowercase", "true")
    assert datamodule.tokens == options.data.init_args.tokens == "characters"
    assert datamodule.lowercase is True


def test_characters_of_the_user_keep_their_case() -> None:
    write_texts(Path("texts.csv"), rows())
    options, datamodule, _ = choose("--model", "CNN1dClassifier", *TEXTS, "--data.tokens", "characters")
    assert (options.data.init_args.lowercase, datamodule.lowercase) == (False, False)


def test_rare_classes_are_reported() -> None:
    write_texts(Path("texts.csv"), [(f"a text {i}", "rare" if i % 10 == 0 else "common") for i in range(100)])
    *_, lines = choose("--model", "CNN1dClassifier", *TEXTS)
    assert lines[1].startswith("classes: 'rare' has 6 of 60 training samples, 'common' 54; ")


def test_images_are_augmented_by_plain_values() -> None:
    options, datamodule, _ = choose("--model", "CNNClassifier", "--data", "Digits")
    (shift,) = datamodule.augment
    assert (type(shift).__name__, shift.pixels) == ("RandomShift", 1)
    assert options.data.init_args.augment[0].class_path.endswith("RandomShift")


def test_a_forecast_keeps_the_monitor_of_its_task() -> None:
    write_series(Path("series.csv"), waves(100, 1), ["a"])
    options, *_ = choose(
        *["--model", "LinearForecaster", "--data", "SeriesCSV", "--data.path", "series.csv"],
        *["--data.look_back", "8", "--data.horizon", "4"],
    )
    assert options.checkpoint.monitor == "val/mse"
    assert options.model.init_args.init == "zeros"


def test_skewed_columns_are_normalized_before_the_table_is_encoded() -> None:
    Path("skewed.csv").write_text("\n".join(["x,y", *(f"{2 ** (i % 30)},{'ab'[i % 2]}" for i in range(90))]))
    table = ["--data", "TableCSV", "--data.path", "skewed.csv", "--data.target", "y"]
    options, datamodule, _ = choose("--model", "MLPClassifier", *table)
    assert options.data.init_args.normalize_skewed is True
    assert list(datamodule.statistics["quantiles"]) == [0]
    _, datamodule, _ = choose("--model", "MLPClassifier", *table, "--data.normalize_skewed", "false")
    assert "quantiles" not in datamodule.statistics


def test_a_run_is_repeated_exactly_by_its_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    write_texts(Path("texts.csv"), rows(60))
    small = ["--model.widths", "[4]", "--trainer.max_epochs", "2", "--trainer.logger", "false"]
    assert main(["fit", "--model", "CNN1dClassifier", *small, *TEXTS]) == 0
    assert "recipe: 2 epochs of 5 steps; tokens words, lowercase True, batch_size 8" in capsys.readouterr().out
    (first,) = Path("checkpoints").glob("*/*")
    assert main(["fit", "--config", str(first / "config.yaml"), "--experiment", "again"]) == 0
    assert "recipe:" not in capsys.readouterr().out
    (again,) = Path("checkpoints/again").glob("*")
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (first, again)]
    assert configs[0]["data"]["init_args"]["batch_size"] == 8
    assert [configs[0][key] for key in ("model", "data", "trainer")] == [
        configs[1][key] for key in ("model", "data", "trainer")
    ]
    weights = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (first, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_recipe_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("table.csv"))
    args = ["--model", "MLPClassifier", *TABLE, "--trainer.fast_dev_run", "true"]
    assert main(["fit", *args, "--recipe", "false"]) == 0
    assert "recipe:" not in capsys.readouterr().out


def test_a_requeued_command_repeats_what_was_chosen() -> None:
    write_csv(Path("table.csv"))
    args = ("--model", "MLPClassifier", "--model.dropout", "0.5", *TABLE)
    chosen, *_ = choose(*args)
    cli = parse(*args)
    saved = yaml.safe_load(subcommand_parser(cli, "fit").dump(chosen, skip_unset=False))
    repeat_choices(cli.options, options_set_by_user(cli.parser, cli._args), saved)
    assert cli.options.trainer.max_epochs == chosen.trainer.max_epochs
    assert cli.options.model.init_args == chosen.model.init_args
    assert cli.options.data.init_args.batch_size == chosen.data.init_args.batch_size
    assert cli.options.checkpoint.monitor == "val/loss"
