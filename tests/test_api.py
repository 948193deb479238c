"""`litnets.fit` gives the results of the command line, and leaves the process as it was."""

import gc
import logging
import os
import random
import re
import signal
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import litnets
from litnets.__main__ import main
from litnets.api import TrainedRun
from litnets.data.core.base import ArrayDataModule
from litnets.data.core.batching import ArrayDataset
from litnets.errors import InputError
from litnets.runs.folder import Run

QUIET: dict[str, Any] = {"enable_progress_bar": False}


def only_run(experiment: str) -> Run:
    (folder,) = Path("checkpoints", experiment).iterdir()
    return Run(folder)


def weights(run: Run) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run.best, weights_only=True)["state_dict"]
    return state


def assert_same_results(run: TrainedRun, other: Run) -> None:
    """Check that two runs have the same configuration, metrics and weights, to the last digit."""
    mine = Run(run.folder)
    configs = [yaml.safe_load(one.config.read_text()) for one in (mine, other)]
    for config in configs:
        config.pop("experiment")
        config.pop("config", None)
    assert configs[0] == configs[1]
    assert run.results["test"] == other.read_results()["test"]
    assert mine.metrics.read_text() == other.metrics.read_text()
    theirs = weights(other)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(mine).items())


def test_a_configuration_gives_the_results_of_the_command_line() -> None:
    Path("small.yaml").write_text(
        "model: {class_path: MLPClassifier, init_args: {hidden_layer_sizes: [8]}}\n"
        "data: {class_path: Digits}\ntrainer: {max_epochs: 9, enable_progress_bar: false}\n"
    )
    options = ["--model.lr", "0.01", "--trainer.max_epochs", "1"]
    assert main(["fit", "--config", "small.yaml", *options, "--experiment", "cli"]) == 0
    torch.rand(3)  # the state of the caller's generators does not matter
    run = litnets.fit("small.yaml", {"model.lr": 0.01}, max_epochs=1, experiment="api")
    assert_same_results(run, only_run("cli"))
    assert run.folder.parent == Path("checkpoints/api")
    assert run.test() == run.results["test"]
    assert run.resume(max_epochs=2) is run
    assert run.results["epochs"] == 2


@pytest.mark.slow
def test_classes_and_objects_give_the_results_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model.lr", "0.01", "--model.hidden_layer_sizes", "[8]", "--trainer.max_epochs", "1"]
    command = ["fit", "--model", "MLPClassifier", "--data", "Digits", "--data.batch_size", "64", *options]
    augment = '[{"class_path": "litnets.RandomShift", "init_args": {"pixels": 1}}]'
    command += ["--data.augment", augment, "--trainer.enable_progress_bar", "false"]
    assert main([*command, "--experiment", "cli"]) == 0
    capsys.readouterr()
    arguments: dict[str, Any] = {"lr": np.float64(0.01), "hidden_layer_sizes": (8,), "max_epochs": 1, **QUIET}
    data = litnets.Digits(batch_size=64, augment=[litnets.RandomShift(1)])
    run = litnets.fit(litnets.MLPClassifier, data, **arguments)
    assert_same_results(run, only_run("cli"))
    assert only_run("digits_mlpclassifier").folder == run.folder
    assert capsys.readouterr().out.count("run folder:") == 1
    assert data.trainer is None
    assert set(data.splits) == {"train", "val", "test"}
    again = litnets.fit("MLPClassifier", data, experiment="again", **arguments)  # the same object, read already
    assert_same_results(again, only_run("cli"))


# Options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lrr": 0.1}, "fit: no option 'lrr'; did you mean 'lr'"),
        ({"max_epoch": 1}, "fit: no option 'max_epoch'; did you mean 'max_epochs'"),
        ({"max_epochs": "many"}, "trainer.max_epochs: expected .*whole number.*, got 'many'"),
        ({"callbacks": [Callback()]}, "trainer.callbacks: an object of Callback cannot be written into config.yaml"),
        ({"optimizer": "Adamm"}, "optimizer: no .*Adamm.*did you mean"),
        ({"batch_size": 3}, "fit: no option 'batch_size'"),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        litnets.fit(litnets.MLPClassifier, litnets.Digits(), **arguments)
    assert not Path("checkpoints").exists()


def test_an_ambiguous_argument_needs_its_full_name() -> None:
    with pytest.raises(InputError) as error:
        litnets.fit(Ambiguous, litnets.Digits(), max_epochs=1)
    assert str(error.value) == (
        "fit: 'max_epochs' may be model.max_epochs or trainer.max_epochs; write "
        '{"model.max_epochs": ...} or {"trainer.max_epochs": ...}'
    )


class Ambiguous(litnets.MLPClassifier):
    def __init__(self, max_epochs: int = 3, **task: Any) -> None:
        super().__init__(**task)


@pytest.mark.parametrize(
    ("positional", "message"),
    [
        (("none.yaml",), r"config: no file .*none\.yaml"),
        (("digits_mlp",), "model: no class 'digits_mlp'; expected a class such as MLPClassifier, or a file such as"),
        (("MLPClasifier", "Digits"), "model: no class 'MLPClasifier'; did you mean 'MLPClassifier'"),
        ((litnets.MLPClassifier, "Digitss"), "data: no class 'Digitss'; did you mean 'Digits'"),
        ((litnets.MLPClassifier,), "fit: give the data after the class of the model"),
        ((litnets.MLPClassifier, 3), "data: expected a class derived from LightningDataModule, got an object of int"),
        ((litnets.Digits, litnets.Digits), "model: expected a class derived from LightningModule, got Digits"),
        ((litnets.MLPClassifier([4], num_classes=2), "Digits"), "got an object of MLPClassifier; pass the class, and"),
        (("x.yaml", "Digits"), "fit: a configuration file names its data; give options as a dict"),
    ],
)
def test_wrong_arguments_are_refused(positional: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        litnets.fit(*positional)


# Data in memory


class Points(ArrayDataModule):
    """Points in memory, as a user writes it."""

    input_shape, num_classes, class_names = (4,), 2, ("no", "yes")

    def __init__(self, inputs: Any, targets: Any, **loading: Any) -> None:
        super().__init__(**loading)
        self.inputs, self.targets = torch.as_tensor(inputs), torch.as_tensor(targets)

    def load(self) -> Any:
        parts = zip(("train", "val", "test"), torch.arange(len(self.targets)).split([40, 10, 10]), strict=True)
        return {part: ArrayDataset(self.inputs, self.targets, indices) for part, indices in parts}

    def read_inputs(self, inputs: Any) -> ArrayDataset:
        return ArrayDataset(torch.as_tensor(inputs), torch.zeros(len(inputs)))


def points() -> tuple[Any, Any]:
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return inputs.numpy(), (inputs.sum(1) > 0).long().numpy()


def test_data_in_memory_are_recorded_by_shape_and_hash(capsys: pytest.CaptureFixture[str]) -> None:
    inputs, targets = points()
    run = litnets.fit(litnets.MLPClassifier, Points(inputs, targets, batch_size=20), max_epochs=1, **QUIET)
    assert run.folder.parent.name == "points_mlpclassifier"
    section = yaml.safe_load((run.folder / "config.yaml").read_text())["data"]
    assert section["class_path"] == "litnets.data.core.in_memory.InMemoryData"
    assert section["init_args"]["note"] == "the data were in memory, so the run cannot be repeated from files"
    assert section["init_args"]["class_path"] == "tests.test_api.Points"
    arguments = section["init_args"]["arguments"]
    assert arguments["batch_size"] == 20
    assert arguments["inputs"]["shape"] == [60, 4]
    assert arguments["inputs"]["in_memory"] == "numpy.ndarray of float32"
    assert re.fullmatch("[0-9a-f]{32}", arguments["inputs"]["hash"])
    capsys.readouterr()
    assert main(["test", str(run.folder)]) == 2
    assert "data: the Points of this run was in memory, so the command line cannot read it" in capsys.readouterr().err
    # In Python, the run resumes with the object.
    assert run.test() == run.results["test"]
    assert run.resume(max_epochs=2).results["epochs"] == 2
    assert set(litnets.load(run).predict(inputs[:5])) <= {"no", "yes"}
    expected = litnets.load(run).predict_proba(inputs)
    assert np.array_equal(litnets.load(run.folder, Points(inputs, targets)).predict_proba(inputs), expected)
    with pytest.raises(InputError, match=r"Points cannot be constructed again .* litnets.load\(run, datamodule\)"):
        litnets.load(run.folder)


def test_a_network_of_arrays_is_loaded_without_the_arrays() -> None:
    inputs, targets = points()
    run = litnets.fit(litnets.MLPClassifier, litnets.ArrayData(inputs, targets), max_epochs=1, **QUIET)
    net = litnets.load(run.folder)
    assert np.array_equal(net.predict_proba(inputs), litnets.load(run).predict_proba(inputs))
    with pytest.raises(InputError, match=r"expected samples of shape \(4,\) as in training, got \(5,\)"):
        net.predict(np.zeros((2, 5)))


def test_other_values_have_another_hash() -> None:
    from litnets.data.core.in_memory import describe_datamodule

    inputs, targets = points()
    changed = inputs.copy()
    changed[3, 2] += 1
    forms = (inputs, changed, torch.from_numpy(inputs), inputs.tolist(), inputs.astype(float))
    described = [describe_datamodule(Points(form, targets))["init_args"]["arguments"]["inputs"] for form in forms]
    assert described[0]["hash"] == described[2]["hash"] != described[1]["hash"]
    assert described[3] == inputs.tolist()  # few numbers are written as they are
    assert described[4]["hash"] != described[0]["hash"]
    assert describe_datamodule(Points(inputs, [0.5] * 2000))["init_args"]["arguments"]["targets"]["shape"] == [2000]


class Foreign(LightningDataModule):
    """A DataModule that is not derived from litnets, and saves no hyperparameters."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input_shape, self.num_classes = (4,), 2
        inputs, targets = points()
        self.dataset = TensorDataset(torch.from_numpy(inputs)[:size], torch.from_numpy(targets)[:size])

    def train_dataloader(self) -> Any:
        return DataLoader(self.dataset, 20)

    val_dataloader = test_dataloader = train_dataloader


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_a_foreign_datamodule_is_trained_as_it_is() -> None:
    run = litnets.fit(litnets.MLPClassifier, Foreign(60), max_epochs=1, **QUIET)
    assert run.test() == run.results["test"]
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["data"]["init_args"]["arguments"] == {}


# The process stays as it was


class Interrupt(Callback):
    """Sends Ctrl-C to this process in the third batch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2 and trainer.current_epoch == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_saves_the_run_and_propagates() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        litnets.fit(litnets.MLPClassifier, litnets.Digits(), max_epochs=2, callbacks=[Interrupt], **QUIET)
    assert signal.getsignal(signal.SIGINT) is handler
    run = only_run("digits_mlpclassifier")
    assert torch.load(run.last, weights_only=True)["global_step"] == 3
    assert TrainedRun(run).resume({"trainer.callbacks": None}).results["epochs"] == 2


def test_a_training_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED")
    logger = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(logger, "level", logging.INFO)

    def state() -> list[Any]:
        generators = (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate())
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        hooks = (threading.excepthook, warnings.showwarning, sys.excepthook)
        return [*generators, *handlers, *hooks, dict(os.environ), list(sys.path), warnings.filters[:], logger.level]

    before, alive = state(), count_models_and_trainers()
    litnets.fit(litnets.MLPClassifier, "Digits", max_epochs=1, deterministic=True, batch_size=300, **QUIET)
    assert state() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert count_models_and_trainers() == alive
    with pytest.raises(InputError):
        litnets.fit(litnets.MLPRegressor, litnets.Digits(), **QUIET)
    assert state() == before


def count_open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def count_models_and_trainers() -> int:
    gc.collect()
    return sum(issubclass(type(one), (LightningModule, Trainer)) for one in gc.get_objects())


@pytest.mark.slow
def test_ten_trainings_in_one_process_leak_nothing() -> None:
    """Counts stay the same after a training that warms up, and Python's memory grows by less than 0.2 MB a training.

    It grows by 0.1 MB: jsonargparse's type hints fill the caches of `typing`, and torch.jit.trace, which draws the
    graph for TensorBoard, registers classes. Tensors are not counted, but the models and Trainers that hold them are.
    """
    data, before = litnets.Digits(), count_models_and_trainers()  # the parameters of another test, for one
    measured = []
    tracemalloc.start()
    for number in range(12):
        run = litnets.fit(litnets.MLPClassifier, data, max_epochs=2, lr=0.001 * (1 + number), **QUIET)
        litnets.load(run).predict(np.zeros((3, 8, 8), np.uint8))
        loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
        handlers = sum(len(logger.handlers) for logger in [logging.root, *loggers])
        alive = count_models_and_trainers() - before
        counts = (handlers, threading.active_count(), count_open_files(), alive)
        measured.append((tracemalloc.get_traced_memory()[0], *counts))
    tracemalloc.stop()
    memory, *each_count = zip(*measured[1:], strict=True)
    assert all(len(set(count)) == 1 for count in each_count), measured
    assert each_count[-1][0] == 0
    assert memory[-1] - memory[0] < 10 * 0.2e6, memory
