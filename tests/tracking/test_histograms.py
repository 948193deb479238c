"""The distributions of weights, gradients and activations in a run folder."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.runs.distributions import Distribution, load_distributions, save_distributions
from litnets.runs.folder import Run
from litnets.tasks import Classifier
from litnets.tracking import histograms
from litnets.tracking.histograms import Histograms

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


class Probe(nn.Module):
    """A network that records its layers at the last batch, which has two samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.rnn = nn.Linear(2, 4), nn.ReLU(inplace=True), nn.GRU(4, 3, batch_first=True)
        self.hidden = torch.zeros(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.hidden = self.first(x).detach().clone()
        outputs, _ = self.rnn(self.act(self.first(x))[:, None])
        last: torch.Tensor = outputs[:, 0]
        return last


class Odd(nn.Module):
    """A network with layers that have no histogram: no values, no finite values, complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing, self.infinite, self.complex = Apply(lambda x: x[:0]), Apply(lambda x: x / 0), Apply(torch.fft.fft)
        self.last = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.nothing(x), self.infinite(x), self.complex(x)
        outputs: torch.Tensor = self.last(x)
        return outputs


class Apply(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def train(run: Run, net: nn.Module, epochs: int, **options: Any) -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(10, 2), torch.arange(10) % 3
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[Histograms(run)],
        **{"logger": False, **options},
    )
    model = Classifier(net, 3, ["a", "b", "c"], optimizer="SGD", lr=0.1)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=8)
    trainer.fit(model, loader, loader)


def test_the_last_step_of_each_epoch_is_described(tmp_path: Path) -> None:
    run, net = Run(tmp_path), Probe()
    train(run, net, 2)
    rows = {(row.epoch, row.kind, row.layer): row for row in load_distributions(run)}
    weights = ["net.first.weight", "net.rnn.weight_ih_l0", "net.rnn.weight_hh_l0"]
    assert [layer for epoch, kind, layer in rows if (epoch, kind) == (2, "gradients")] == weights
    assert [layer for epoch, kind, layer in rows if (epoch, kind) == (2, "activations")] == [
        "net.first",
        "net.act",
        "net.rnn",
    ]
    before_relu, after_relu = (rows[2, "activations", f"net.{name}"] for name in ("first", "act"))
    assert before_relu.std == pytest.approx(net.hidden.std(correction=0).item(), rel=1e-3)
    assert before_relu.zeros == 0 < after_relu.zeros == pytest.approx((net.hidden < 0).float().mean().item())
    assert rows[2, "gradients", "net.rnn.weight_hh_l0"].std == 0, "the first hidden state is zero"
    assert not net.first._forward_hooks


def test_a_resumed_run_replaces_later_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    row = Distribution.of(1, "weights", "stale", torch.ones(3).numpy())
    assert row is not None
    save_distributions(run, [row, row._replace(epoch=2)])
    callback: Any = Histograms(run)
    callback.on_train_start(SimpleNamespace(is_global_zero=True, fast_dev_run=0, current_epoch=1), None)
    assert list(callback._rows) == [(1, "weights", "stale")]

    monkeypatch.setattr(histograms, "_MAX_EPOCHS", 3)
    train(run, nn.Linear(2, 3), 5)
    kept = load_distributions(run)
    assert [row.epoch for row in kept if row.kind == "weights"] == [2, 4]
    assert "stale" not in {row.layer for row in kept}, "a run that starts over keeps nothing"


def test_layers_without_a_histogram_are_left_out(tmp_path: Path) -> None:
    train(Run(tmp_path), Odd(), 1, logger=TensorBoardLogger(tmp_path), log_every_n_steps=1)
    layers = [row.layer for row in load_distributions(Run(tmp_path)) if row.kind == "activations"]
    assert layers == ["net.last"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    train(Run(tmp_path), nn.Linear(2, 3), 1, fast_dev_run=True)
    assert not list(tmp_path.iterdir())


def test_large_layers_are_sampled_and_values_that_are_not_finite_are_left_out() -> None:
    values = torch.arange(1_000_000.0)
    assert 40_000 < len(histograms._some(values)) <= 50_000
    described = Distribution.of(1, "weights", "a", torch.tensor([1.0, float("nan"), 3.0, float("inf")]).numpy())
    assert described is not None
    assert (described.std, described.q50, described.zeros) == (1.0, 2.0, 0.0)
    assert Distribution.of(1, "weights", "a", torch.tensor([float("nan")]).numpy()) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epoch,kind\n", "expected the columns epoch, kind, layer, std"),
        ("1,weights,a,0,0,0,0,0,0\n", "missing 1 required positional argument"),
        ("1,weights,a,0,0,0,0,0,0,nan\n", "unexpected row"),
        ("1,others,a,0,0,0,0,0,0,0\n", "unexpected row"),
        ("1,weights,a,0,0,-1e308,0,0,0,1e308\n", "unexpected row"),
        (f"1{'0' * 400},weights,a,0,0,0,0,0,0,0\n", "unexpected row"),
        ("1,weights,a,0,0,0,0,0,0,0\n" * 10_001, "at most 10000 rows"),
        ("", "not enough values"),
    ],
)
def test_damaged_files_are_reported(tmp_path: Path, text: str, problem: str) -> None:
    run = Run(tmp_path)
    head = "" if text.startswith("epoch") or not text else ",".join(Distribution._fields) + "\n"
    run.distributions.write_text(head + text)
    with pytest.raises(InputError, match=rf"distributions.csv is damaged \(.*{problem}"):
        load_distributions(run)


def test_a_layer_has_one_row_for_each_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path)
    rows = [Distribution(1, "weights", "a", std, 0, 0, 0, 0, 0, 0) for std in (1.0, 2.0)]
    save_distributions(run, rows)
    assert load_distributions(run) == rows[1:]
