import inspect
import math

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import Classifier
from litnets.tasks.optimization import Optimization

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
)
FUSED = ["Adam", "AdamW", "SGD"]
LENGTH_FROM_TRAINER = ["CosineAnnealingLR", "OneCycleLR", "PolynomialLR", "WarmupCosineLR"]


def optimization(optimizer="AdamW", **kwargs):
    names = ("lr", "weight_decay", "optimizer_args", "lr_scheduler", "lr_scheduler_args", "lr_scheduler_interval")
    return Optimization(optimizer, **{name: kwargs.get(name) for name in names})


def build(net, **kwargs):
    return optimization(**kwargs).build_optimizer(net.named_parameters())


class RecordLearningRates(Callback):
    """Record the learning rate of each optimizer step."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def fit(model=None, batches=5, trainer=None, **kwargs):
    """Train a tiny model. Return the learning rate of each step, and the trainer."""
    model = model or Classifier(nn.Linear(3, 2), 2, **kwargs)
    loader = DataLoader(TensorDataset(torch.randn(2 * batches, 3), torch.arange(2 * batches) % 2), batch_size=2)
    recorder = RecordLearningRates()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[recorder],
        **(trainer or {"max_epochs": 2}),
    )
    trainer.fit(model, loader, loader)
    return recorder.rates, trainer


# Optimizers


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_biases_and_normalization_layers_are_not_decayed(kind):
    """With zero gradients, only weight decay changes the parameters."""
    net = nn.ModuleList([nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.Conv2d(1, 2, 3), nn.LSTM(3, 2)])
    for parameter in net.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    build(net, optimizer=kind, lr=0.5, weight_decay=0.4).step()
    for name, parameter in net.named_parameters():
        is_decayed = name.rpartition(".")[2] in ("weight_ih_l0", "weight_hh_l0") or name in ("0.weight", "3.weight")
        expected = torch.full_like(parameter, 0.8 if is_decayed else 1.0)
        torch.testing.assert_close(parameter.data, expected, msg=name)


def test_frozen_parameters_are_skipped():
    net = nn.Linear(3, 4)
    net.weight.requires_grad_(False)
    groups = build(net).param_groups
    assert [parameter.shape for group in groups for parameter in group["params"]] == [net.bias.shape]


@pytest.mark.parametrize(("kind", "decay"), [("SGD", 0), ("Adam", 0), ("AdamW", 0.01), ("NAdam", 0)])
def test_default_weight_decay_of_each_optimizer_is_kept(kind, decay):
    weights, biases = build(nn.Linear(3, 4), optimizer=kind).param_groups
    assert weights["weight_decay"] == decay
    assert biases["weight_decay"] == 0


# Muon does not support biases, and SparseAdam does not support dense gradients.
@pytest.mark.parametrize("kind", [name for name in OPTIMIZERS if name not in ("Muon", "SparseAdam")])
def test_every_torch_optimizer_keeps_its_defaults(kind):
    reference = getattr(torch.optim, kind)([nn.Parameter(torch.zeros(2, 2))]).defaults
    optimizer = build(nn.Linear(3, 4), optimizer=kind)
    assert type(optimizer) is getattr(torch.optim, kind)
    fused = {"fused": True} if kind in FUSED else {}
    assert optimizer.defaults == reference | fused


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("args", [{"fused": False}, {"foreach": True}])
def test_an_explicit_implementation_overrides_fused(kind, args):
    optimizer = build(nn.Linear(3, 4), optimizer=kind, lr=0.1, optimizer_args=args)
    assert not optimizer.defaults["fused"]


@pytest.mark.parametrize("kind", FUSED)
def test_fused_and_plain_steps_are_equal(kind):
    torch.manual_seed(0)
    nets = [nn.Linear(3, 4), nn.Linear(3, 4)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [
        build(net, optimizer=kind, lr=0.1, optimizer_args=args)
        for net, args in zip(nets, [{}, {"fused": False}], strict=True)
    ]
    for _ in range(5):
        x = torch.randn(8, 3)
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            (net(x) - 1).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_with_a_fused_optimizer(precision):
    """Lightning refuses to clip under bf16-mixed if the optimizer declares that it unscales gradients (#21435)."""
    model = Classifier(nn.Linear(3, 2), 2, optimizer="SGD", lr=1.0)
    before = model.net.weight.detach().clone()
    clip = {"gradient_clip_val": 1e-3, "max_steps": 1, "precision": precision}
    fit(model, trainer=clip)
    assert 0 < (model.net.weight - before).norm() < 1.001e-3


@pytest.mark.parametrize("kind", [name for name in OPTIMIZERS if name not in ("Muon", "SparseAdam")])
def test_every_torch_optimizer_reduces_a_loss(kind):
    torch.manual_seed(0)
    net, x = nn.Linear(3, 1), torch.randn(16, 3)
    optimizer = build(net, optimizer=kind, lr=0.01)

    def loss():
        optimizer.zero_grad()
        value = (net(x) - 5).square().mean()
        value.backward()
        return value.detach()

    values = [optimizer.step(loss).item() for _ in range(5)]
    assert values[-1] < values[0]


def test_a_schedule_scales_both_learning_rates_of_conv_muon():
    settings = optimization("ConvMuon", lr=2.0, optimizer_args={"conv_lr": 0.5}, lr_scheduler="PolynomialLR")
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(3, 4))
    optimizer = settings.build_optimizer(net.named_parameters())
    schedule = settings.build_scheduler(optimizer, length=4, mode="min")
    optimizer.step()
    schedule.step()
    rates = {p.ndim: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {1: 1.5, 2: 1.5, 4: 0.375}


def test_gpu_only_optimizers_are_built_without_a_trial_step():
    gpu_only = f"{__name__}.GPUOnlySGD"
    for settings in (optimization("Adam", optimizer_args={"capturable": True}), optimization(gpu_only, lr=0.1)):
        assert settings.build_optimizer(nn.Linear(3, 4).named_parameters()).param_groups


class GPUOnlySGD(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no GPU")


def test_muon_raises_because_it_does_not_support_biases():
    with pytest.raises(InputError, match="Muon only supports 2D parameters"):
        optimization("Muon")


def test_arguments_reach_the_optimizer():
    groups = build(nn.Linear(3, 4), optimizer="SGD", lr=0.5, optimizer_args={"momentum": 0.9, "lr": 9}).param_groups
    assert [(group["momentum"], group["lr"]) for group in groups] == [(0.9, 0.5)] * 2


def test_an_optimizer_can_be_an_import_path():
    assert type(build(nn.Linear(3, 4), optimizer="torch.optim.sgd.SGD")) is torch.optim.SGD


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"optimizer": "adamw"}, "optimizer: no class 'adamw'; did you mean 'AdamW'?"),
        ({"optimizer": "Sdg"}, "did you mean 'SGD'?"),
        ({"optimizer": "zzz"}, "(known: ASGD, Adadelta"),
        ({"optimizer": "Optimizer"}, "optimizer: no class 'Optimizer'"),
        ({"optimizer": "no_such_module.SGD"}, "cannot import 'no_such_module.SGD'"),
        ({"optimizer": "torch.optim.NoSuchClass"}, "cannot import 'torch.optim.NoSuchClass'"),
        ({"optimizer": "math.sqrt"}, "optimizer: math.sqrt is a builtin_function_or_method; expected a class derived"),
        (
            {"optimizer": "SGD", "optimizer_args": {"momentun": 0.9}},
            "optimizer_args: SGD takes no 'momentun'; did you mean 'momentum'?",
        ),
        ({"optimizer": "LBFGS", "weight_decay": 0.1}, "optimizer_args: LBFGS takes no 'weight_decay'"),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"optimizer": "ConvMuon", "optimizer_args": {"conv_lr": -1.0}}, "conv_lr: expected at least 0"),
        ({"optimizer": "ConvMuon", "optimizer_args": {"conv_momentum": 1.0}}, "conv_momentum: expected a number in"),
        ({"optimizer_args": {"betas": 0.9}}, "optimizer or lr_scheduler: "),
        ({"lr_scheduler": "OneCycle"}, "lr_scheduler: no class 'OneCycle'; did you mean 'OneCycleLR'?"),
        ({"lr_scheduler": "WarmupCosine"}, "did you mean 'WarmupCosineLR'?"),
        ({"lr_scheduler": "StepLR"}, "step_size"),
        (
            {"lr_scheduler": "StepLR", "lr_scheduler_args": {"stepsize": 3}},
            "lr_scheduler_args: StepLR takes no 'stepsize'; did you mean 'step_size'?",
        ),
        ({"lr_scheduler": "WarmupCosineLR", "lr_scheduler_args": {"warmup": 1.0}}, "warmup: expected a fraction"),
        ({"optimizer": "SparseAdam"}, "SparseAdam does not support dense gradients"),
        (
            {"lr_scheduler": "StepLR", "lr_scheduler_args": {"step_size": 0}},
            "StepLR cannot make a step with {'step_size': 0}",
        ),
        ({"lr_scheduler": "CosineAnnealingLR", "lr_scheduler_args": {"T_max": 0}}, "cannot make a step with"),
        ({"lr_scheduler": "StepLR", "lr_scheduler_args": {"step_size": "3"}}, "optimizer or lr_scheduler: "),
    ],
)
def test_invalid_settings_raise_before_training(kwargs, message):
    with pytest.raises(InputError) as error:
        optimization(**kwargs)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Schedules


def learning_rates(steps, length=10, lr=0.5, mode="min", **kwargs):
    """Return the learning rate of each of `steps` optimizer steps."""
    settings = optimization("SGD", lr=lr, optimizer_args={"momentum": 0.9}, **kwargs)
    optimizer = settings.build_optimizer(nn.Linear(2, 2).named_parameters())
    scheduler = settings.build_scheduler(optimizer, length, mode)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_length_of_a_schedule_follows_from_the_training():
    steps = range(10)
    assert learning_rates(10, lr_scheduler="CosineAnnealingLR") == pytest.approx(
        [0.25 * (1 + math.cos(math.pi * k / 10)) for k in steps]
    )
    assert learning_rates(10, lr_scheduler="PolynomialLR") == pytest.approx([0.5 * (1 - k / 10) for k in steps])
    one_cycle = learning_rates(10, lr_scheduler="OneCycleLR")
    assert one_cycle[0] == pytest.approx(0.5 / 25)
    assert one_cycle[2] == max(one_cycle) == pytest.approx(0.5)  # pct_start 0.3 of ten steps
    assert one_cycle[9] == pytest.approx(0.5 / 25 / 1e4)


@pytest.mark.parametrize(("scheduler", "kwargs"), [("OneCycleLR", {}), ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1})])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_cyclic_schedules_do_not_add_momentum(scheduler, kwargs, momentum):
    settings = optimization(
        "SGD", lr=0.1, optimizer_args={"momentum": momentum}, lr_scheduler=scheduler, lr_scheduler_args=kwargs
    )
    optimizer = settings.build_optimizer(nn.Linear(2, 2).named_parameters())
    settings.build_scheduler(optimizer, length=10, mode="min")
    assert [bool(group["momentum"]) for group in optimizer.param_groups] == [bool(momentum)] * 2


def test_one_cycle_can_be_a_triangle():
    """From a fifth of the learning rate up to the full rate and down to 7% of it, as in Jordan (2024)."""
    shape = {"pct_start": 0.3, "div_factor": 5, "final_div_factor": 20 / 7, "anneal_strategy": "linear"}
    expected = [0.5 * (0.2 + 0.8 * k / 2) for k in range(2)] + [0.5 * (1 - 0.93 * k / 7) for k in range(8)]
    assert learning_rates(10, lr_scheduler="OneCycleLR", lr_scheduler_args=shape) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scheduler", "kwargs"),
    [("CosineAnnealingLR", {"T_max": 4}), ("PolynomialLR", {"total_iters": 4}), ("WarmupCosineLR", {"total_steps": 4})],
)
def test_an_explicit_schedule_length_is_kept(scheduler, kwargs):
    settings = optimization(lr_scheduler=scheduler, lr_scheduler_args=kwargs)
    assert settings.interval == "epoch"
    assert learning_rates(5, lr_scheduler=scheduler, lr_scheduler_args=kwargs)[4] == pytest.approx(0)


@pytest.mark.parametrize("scheduler", LENGTH_FROM_TRAINER)
def test_an_endless_fit_has_no_schedule_length(scheduler):
    settings = optimization("SGD", optimizer_args={"momentum": 0.9}, lr_scheduler=scheduler)
    optimizer = settings.build_optimizer(nn.Linear(2, 2).named_parameters())
    with pytest.raises(InputError, match=f"{scheduler} needs to know how long training is"):
        settings.build_scheduler(optimizer, math.inf, "min")


def cosine(k, length):
    return 0.05 * (1 + math.cos(math.pi * k / length))


@pytest.mark.parametrize(
    ("trainer", "updates"),
    [
        ({"max_epochs": 2}, 10),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, 6),
        ({"max_steps": 7}, 7),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
    ],
)
def test_a_schedule_ends_when_training_ends(trainer, updates):
    rates, trainer = fit(trainer=trainer, lr=0.1, lr_scheduler="CosineAnnealingLR")
    assert rates == pytest.approx([cosine(k, updates) for k in range(updates)])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_cycle_ends_when_training_ends(accumulate):
    trainer = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    rates, _ = fit(trainer=trainer, lr=0.1, lr_scheduler="OneCycleLR")
    assert len(rates) == (6 if accumulate == 2 else 10)
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert max(rates[1:-1]) > 0.08


def test_a_schedule_per_epoch():
    rates, _ = fit(
        batches=2, trainer={"max_epochs": 4}, lr=0.1, lr_scheduler="CosineAnnealingLR", lr_scheduler_interval="epoch"
    )
    assert rates == pytest.approx([cosine(k, 4) for k in (0, 0, 1, 1, 2, 2, 3, 3)])


def test_a_schedule_without_length_steps_each_epoch():
    rates, _ = fit(
        batches=2,
        trainer={"max_epochs": 3},
        lr=0.1,
        lr_scheduler="StepLR",
        lr_scheduler_args={"step_size": 1, "gamma": 0.5},
    )
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


class Scripted(Classifier):
    """A classifier with a predetermined validation accuracy, whose loss is its negative."""

    def on_validation_epoch_end(self):
        accuracy = (0.1, 0.2, 0.3, 0.2, 0.1)[self.current_epoch]
        self.log_dict({"val/accuracy": accuracy, "val/loss": -accuracy, "val/f1": accuracy})


@pytest.mark.parametrize("monitor", [{}, {"monitor": "val/accuracy"}, {"monitor": "val/loss"}, {"monitor": "val/f1"}])
def test_a_plateau_of_the_monitored_metric_lowers_the_learning_rate(monitor):
    model = Scripted(
        nn.Linear(3, 2),
        2,
        lr=0.1,
        lr_scheduler="ReduceLROnPlateau",
        lr_scheduler_args={"patience": 0, "factor": 0.5, **monitor},
    )
    rates, trainer = fit(model, batches=1, trainer={"max_epochs": 5})
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)
