"""Weight decay, and learning rates by stage of the network."""

import pytest
import torch
from torch import nn

from litnets.errors import InputError
from litnets.nets import MLP
from litnets.tasks import Classifier
from litnets.tasks.parameter_groups import StageRate, learning_rate_factors, parameter_groups, stage_rates


def net() -> MLP:
    return MLP(4, 3, (8, 8), batch_norm=True)


def rates(model: Classifier) -> dict[str, float]:
    """Return the learning rate of every parameter of the network."""
    names = {parameter: name for name, parameter in model.net.named_parameters()}
    optimizer = model.configure_optimizers()
    return {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_without_factors_there_is_one_group_with_and_one_without_decay() -> None:
    weight, bias = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    assert stage_rates(net(), None, {}) == {}
    assert parameter_groups([bias, weight], True, {}) == [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}]
    assert parameter_groups([bias, weight], False, {}) == [{"params": [bias, weight]}]
    assert parameter_groups([bias], True, {}) == [{"params": [bias], "weight_decay": 0.0}]


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "Adam", "RMSprop"])
def test_each_stage_learns_more_slowly_than_the_one_after_it(optimizer: str) -> None:
    found = rates(Classifier(net(), 3, optimizer=optimizer, lr=0.5, layer_decay=0.8))
    expected = {"layers.7": 0.5, "layers.4": 0.4, "layers.5": 0.4, "layers.1": 0.32, "layers.2": 0.32}
    assert found == pytest.approx({f"{n}.{k}": rate for n, rate in expected.items() for k in ("weight", "bias")})


def test_the_default_learning_rate_of_the_optimizer_decays_too() -> None:
    found = rates(Classifier(net(), 3, optimizer="AdamW", layer_decay=0.5))
    assert (found["layers.7.weight"], found["layers.1.weight"]) == (1e-3, 2.5e-4)


def test_both_learning_rates_of_conv_muon_decay() -> None:
    convolutions = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    args = {"conv_lr": 1.0}
    found = rates(Classifier(convolutions, 2, optimizer="ConvMuon", lr=0.4, optimizer_args=args, layer_decay=0.5))
    assert found == {"0.weight": 0.25, "0.bias": 0.1, "1.weight": 0.5, "1.bias": 0.2, "3.weight": 0.4, "3.bias": 0.4}


def test_factors_of_a_callback_multiply_the_decay() -> None:
    model = Classifier(net(), 3, optimizer="SGD", lr=1.0, layer_decay=0.5)
    model.lr_factors = {"layers.4": 0.1}
    found = rates(model)
    assert [found[f"layers.{i}.weight"] for i in (7, 4, 1)] == pytest.approx([1.0, 0.05, 0.25])


def test_groups_are_ordered_from_the_output_to_the_input() -> None:
    model = Classifier(net(), 3, lr=0.5, layer_decay=0.5)
    groups = model.configure_optimizers().param_groups
    stages = ["head", "head", "layers.4", "layers.4", "layers.1", "layers.1"]
    assert [(group["stage"], group["weight_decay"]) for group in groups] == list(
        zip(stages, [0.01, 0.0] * 3, strict=True)
    )
    assert learning_rate_factors(model.configure_optimizers()) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_parameters_outside_the_network_are_another_stage() -> None:
    weight, scale = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    groups = parameter_groups([weight, scale], True, {weight: StageRate("head", 0.5)})
    assert groups == [
        {"params": [weight], "stage": "head", "factor": 0.5},
        {"params": [scale], "weight_decay": 0.0, "stage": "other", "factor": 1.0},
    ]


@pytest.mark.parametrize("scheduler", ["OneCycleLR", "CyclicLR"])
def test_an_explicit_maximum_is_scaled_by_the_factors(scheduler: str) -> None:
    args = {"max_lr": 0.4, **({"base_lr": 0.1, "step_size_up": 2} if scheduler == "CyclicLR" else {"pct_start": 0.02})}
    model = Classifier(net(), 3, optimizer="SGD", layer_decay=0.5, lr_scheduler=scheduler, lr_scheduler_args=args)
    optimizer = model.optimization.build_optimizer(model.named_parameters(), stage_rates(model.net, 0.5, {}))
    schedule = model.optimization.build_scheduler(optimizer, length=100, mode="min")
    highest = [0.0] * 6
    for _ in range(5):
        optimizer.step()
        schedule.step()
        highest = [max(rate, group["lr"]) for rate, group in zip(highest, optimizer.param_groups, strict=True)]
    assert highest == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.1], rel=0.01)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.1, float("nan")])
def test_a_decay_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"layer_decay: expected a number in \(0, 1\], got"):
        Classifier(net(), 3, layer_decay=value)


def test_an_optimizer_without_groups_is_refused() -> None:
    with pytest.raises(InputError, match="LBFGS doesn't support per-parameter options"):
        Classifier(net(), 3, optimizer="LBFGS", layer_decay=0.5)
