"""Validation, test and the saved weights use the averaged weights; training does not."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.__main__ import main
from litnets.callbacks import EMA
from litnets.tasks import Classifier

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

NET = ["--model", "MLPClassifier", "--model.hidden_layer_sizes", "[8]", "--model.batch_norm", "true"]
DIGITS = [*NET, "--data", "Digits", "--data.batch_size", "256", "--model.lr", "0.03", "--trainer.logger", "null"]
QUICK = ["--trainer.logger", "false", "--test_after_fit", "false", "--recipe", "false"]
AVERAGED = ["--trainer.callbacks", "EMA", "--trainer.callbacks.decay", "0.7"]


def fit(name: str, *options: str) -> Path:
    assert main(["fit", *DIGITS, "--runs_dir", name, *options]) == 0
    (config,) = Path(name).glob("*/*/config.yaml")
    return config.parent


def state(path: Path, key: str = "state_dict") -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)[key]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class RecordWeights(Callback):
    """Record the weights after each step."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step > len(self.seen):
            self.seen.append(pl_module.net.weight.detach().double().numpy().copy())


@pytest.mark.parametrize(
    ("every", "accumulated", "precision", "tolerance"),
    [
        (1, 1, "32-true", 1e-5),
        (3, 1, "32-true", 1e-5),
        (1, 2, "32-true", 1e-5),
        (1, 1, "64-true", 1e-10),
        (1, 1, "bf16-true", 1e-2),
    ],
)
def test_the_average_matches_numpy(every: int, accumulated: int, precision: str, tolerance: float) -> None:
    model = Classifier(nn.Linear(3, 2), 2, optimizer="SGD", lr=0.5)
    loader = DataLoader(TensorDataset(torch.randn(60, 3), torch.arange(60) % 2), batch_size=2)
    weights, ema = RecordWeights(), EMA(decay=0.8, every_n_steps=every)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet["enable_model_summary"] = False
    quiet |= {"accelerator": "cpu", "precision": precision}
    trainer = Trainer(max_epochs=2, callbacks=[weights, ema], accumulate_grad_batches=accumulated, **quiet)
    trainer.fit(model, loader, loader)
    averaged = weights.seen[::every]
    assert len(weights.seen) == 60 // accumulated
    average = averaged[0]
    for update, weight in enumerate(averaged[1:], 1):
        decay = min(0.8, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * weight
    actual = model.net.weight.detach().double().numpy()
    np.testing.assert_allclose(actual, average, rtol=tolerance, atol=tolerance / 10)


def test_the_average_is_on_the_device_to_which_the_model_will_move() -> None:
    """The meta device is the only other device that every machine has."""
    model, ema = Classifier(nn.Linear(3, 2), 2), EMA()
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")), precision="32-true")
    ema.setup(trainer, model, "test")
    assert model.device.type == "cpu"
    ema.setup(trainer, model, "fit")
    assert {p.device.type for p in ema._average_model.parameters()} == {"meta"}


def test_all_processes_validate_with_the_statistics_of_the_first() -> None:
    model, ema = Classifier(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), 2), EMA()
    strategy = SimpleNamespace(
        root_device=torch.device("cpu"), broadcast=lambda values: [torch.full_like(value, 7) for value in values]
    )
    trainer = SimpleNamespace(strategy=strategy, world_size=2, state=SimpleNamespace(fn="fit"), precision="32-true")
    ema.setup(trainer, model, "fit")
    in_training = model.net[1].running_mean.clone()
    ema.on_validation_epoch_start(trainer, model)
    assert (model.net[1].running_mean == 7).all()
    ema.on_validation_epoch_end(trainer, model)
    assert torch.equal(model.net[1].running_mean, in_training)


@pytest.mark.slow
def test_the_best_checkpoint_holds_the_average_that_was_validated(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("averaged", *AVERAGED, "--trainer.max_epochs", "3")
    results = json.loads((run / "results.json").read_text())
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/accuracy"]]
    best = rows[results["best"]["epoch"] - 1]
    capsys.readouterr()
    assert main(["validate", "--config", str(run / "config.yaml")]) == 0
    output = capsys.readouterr().out
    assert f"{float(best['val/loss']):.4f}" in output
    assert f"{float(best['val/accuracy']):.4f}" in output
    assert main(["test", "--config", str(run / "config.yaml")]) == 0
    assert f"{results['test']['loss']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_training_does_not_use_the_average() -> None:
    plain = fit("plain", *QUICK, "--trainer.max_epochs", "1")
    averaged = fit("averaged", *AVERAGED, *QUICK, "--trainer.max_epochs", "1")
    last = averaged / "last.ckpt"
    assert same(state(last, "current_model_state"), state(plain / "last.ckpt"))
    assert not same(state(last), state(last, "current_model_state"))
    statistics = "net.layers.2.running_mean"
    assert not torch.equal(state(last)[statistics], state(last, "current_model_state")[statistics])


@pytest.mark.slow
def test_a_finished_run_resumes_from_the_weights_that_were_trained(capsys: pytest.CaptureFixture[str]) -> None:
    uninterrupted = fit("uninterrupted", *AVERAGED, *QUICK, "--trainer.max_epochs", "2")
    resumed = fit("resumed", *AVERAGED, *QUICK, "--trainer.max_epochs", "1")
    capsys.readouterr()
    assert main(["resume", str(resumed), "--trainer.max_epochs", "2"]) == 0
    assert capsys.readouterr().err == ""
    for key in ("state_dict", "current_model_state"):
        assert same(state(resumed / "last.ckpt", key), state(uninterrupted / "last.ckpt", key))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.callbacks.decay", "1"], "EMA: decay: expected a number in [0, 1), got 1.0"),
        (["--trainer.callbacks.every_n_steps", "0"], "EMA: every_n_steps: expected at least 1, got 0"),
    ],
)
def test_invalid_arguments_are_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *DIGITS, "--trainer.callbacks", "EMA", *options]) == 2
    assert message in capsys.readouterr().err
