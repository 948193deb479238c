from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.__main__ import main
from litnets.callbacks import Lookahead
from litnets.errors import InputError
from litnets.tasks import Classifier

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
FIT = ["fit", "--model", "MLPClassifier", "--data", "Digits", "--trainer.callbacks", "Lookahead"]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_weights_match_algorithm_1_of_the_paper(accumulated: int) -> None:
    """With SGD as the inner optimizer."""
    start = Classifier(nn.Linear(3, 2), 2, optimizer="SGD", lr=0.5)
    x, targets = torch.randn(40, 3), torch.arange(40) % 2
    loader = DataLoader(TensorDataset(x, targets), batch_size=2)
    weight, bias = start.net.weight.detach().clone(), start.net.bias.detach().clone()
    slow = [weight.clone(), bias.clone()]
    for step, rows in enumerate(torch.arange(40).split(2 * accumulated), 1):
        logits = (x[rows] @ weight.T + bias).softmax(1) - nn.functional.one_hot(targets[rows], 2)
        weight -= 0.5 * logits.T @ x[rows] / len(rows)
        bias -= 0.5 * logits.mean(0)
        if step % 3 == 0:
            slow = [s + 0.4 * (fast - s) for s, fast in zip(slow, (weight, bias), strict=True)]
            weight, bias = slow[0].clone(), slow[1].clone()
    trainer = Trainer(
        max_epochs=1, callbacks=[Lookahead(3, 0.4)], accelerator="cpu", accumulate_grad_batches=accumulated, **QUIET
    )
    trainer.fit(start, loader, loader)
    torch.testing.assert_close(start.net.weight.detach(), weight)
    torch.testing.assert_close(start.net.bias.detach(), bias)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_running_statistics_are_interpolated_too(power: float) -> None:
    """The learning rate is 0, so only the statistics change. With `power`, alpha falls from 1 to 0.25."""
    x = torch.randn(12, 3) + 5
    loader = DataLoader(TensorDataset(x, torch.arange(12) % 3), batch_size=3)
    model = Classifier(nn.BatchNorm1d(3), 3, optimizer="SGD", lr=0.0)
    Trainer(max_epochs=1, callbacks=[Lookahead(2, 0.25, power)], accelerator="cpu", **QUIET).fit(model, loader, loader)
    slow = mean = torch.zeros(3)
    for step, rows in enumerate(x.split(3), 1):
        mean = 0.9 * mean + 0.1 * rows.mean(0)
        if step % 2 == 0:
            alpha = 0.25 if not power else 1 - 0.75 * (step / 4) ** 2
            slow = mean = slow + alpha * (mean - slow)
    torch.testing.assert_close(model.net.running_mean, mean)


def test_power_needs_a_training_of_known_length() -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 3), torch.arange(8) % 2), batch_size=2)
    trainer = Trainer(max_epochs=-1, callbacks=[Lookahead(power=1)], accelerator="cpu", **QUIET)
    with pytest.raises(InputError, match="Lookahead: power needs a training of known length"):
        trainer.fit(Classifier(nn.Linear(3, 2), 2), loader, loader)


def test_a_second_training_starts_with_new_slow_weights() -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 3), torch.arange(8) % 2), batch_size=2)
    lookahead = Lookahead(4, 1.0)
    for _ in range(2):
        model = Classifier(nn.Linear(3, 2), 2, optimizer="SGD", lr=0.5)
        Trainer(max_epochs=1, callbacks=[lookahead], accelerator="cpu", **QUIET).fit(model, loader, loader)
        assert torch.equal(lookahead.state_dict()["slow"][0], model.net.weight)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["every_n_steps", "0"], "Lookahead: every_n_steps: expected at least 1, got 0"),
        (["alpha", "0"], "Lookahead: alpha: expected a number in (0, 1], got 0"),
        (["power", "-1"], "Lookahead: power: expected at least 0, got -1"),
    ],
)
def test_invalid_arguments_are_refused(option: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, value = option
    assert main([*FIT, f"--trainer.callbacks.{name}", value]) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().glob("checkpoints/*/*"))
