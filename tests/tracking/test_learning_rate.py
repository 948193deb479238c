"""The columns of the learning rate."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from litnets.tracking.learning_rate import CompactLearningRateMonitor


def columns(*optimizers: SGD, **options: Any) -> dict[str, float]:
    """The values that are logged in a step, by column."""
    trainer: Any = SimpleNamespace(
        optimizers=list(optimizers), lr_scheduler_configs=[], loggers=[object()], callback_metrics={},
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    monitor = CompactLearningRateMonitor(**options)
    monitor.on_train_start(trainer)
    return monitor.columns(trainer, "any")


def optimizer(*groups: dict[str, float]) -> SGD:
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], **group} for group in groups], lr=0.5, momentum=0.9)


@pytest.mark.parametrize(
    ("optimizers", "expected"),
    [
        ([optimizer({})], {"lr": 0.5}),
        ([optimizer({}, {"weight_decay": 0.1})], {"lr": 0.5}),
        ([optimizer({}, {"lr": 0.1})], {"lr-SGD/pg1": 0.5, "lr-SGD/pg2": 0.1}),
        # Two schedules that have both reached 0.
        ([optimizer({"lr": 0.0, "initial_lr": 0.5}, {"lr": 0.0, "initial_lr": 0.1})],
         {"lr-SGD/pg1": 0.0, "lr-SGD/pg2": 0.0}),
        ([optimizer({}), optimizer({"lr": 0.1})], {"lr-SGD": 0.5, "lr-SGD-1": 0.1}),
        ([optimizer({}), optimizer({})], {"lr": 0.5}),
        # Groups of two stages. ConvMuon's filters have a learning rate of their own.
        ([optimizer({"stage": "head"}, {"stage": "head"}, {"stage": "layer4", "lr": 0.1})],
         {"lr-SGD/head": 0.5, "lr-SGD/layer4": 0.1}),
        ([optimizer({"stage": "head"}, {"stage": "head", "initial_lr": 0.2, "lr": 0.1})],
         {"lr-SGD/head": 0.5, "lr-SGD/pg2": 0.1}),
        ([optimizer({"stage": "head"}, {"stage": "layer4"})], {"lr": 0.5}),
    ],
)  # fmt: skip
def test_one_column_unless_rates_differ(optimizers: list[SGD], expected: dict[str, float]) -> None:
    assert columns(*optimizers) == expected


def test_momentum_keeps_its_columns() -> None:
    assert columns(optimizer({}), log_momentum=True) == {"lr": 0.5, "lr-SGD-momentum": 0.9}
