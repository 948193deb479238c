import copy
import inspect
import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import Classifier
from litnets.tasks.optimization import SGDW, Optimization, WarmupCosineLR, orthogonalized

# The data are in memory: workers would only slow them down.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
)
FUSED = ["Adam", "AdamW", "SGD"]
LENGTH_FROM_TRAINER = ["CosineAnnealingLR", "OneCycleLR", "PolynomialLR", "WarmupCosineLR"]


def optimization(optimizer="AdamW", **given):
    names = ("lr", "weight_decay", "optimizer_args", "lr_scheduler", "lr_scheduler_args", "lr_scheduler_interval")
    return Optimization(optimizer, **{name: given.get(name) for name in names})


def build(net, **given):
    return optimization(**given).build_optimizer(net.named_parameters())


class Rates(Callback):
    """The learning rate of each update of the weights."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


def fit(model=None, batches=5, trainer=None, **given):
    """The learning rates of a tiny training, and its trainer."""
    model = model or Classifier(nn.Linear(3, 2), 2, **given)
    loader = DataLoader(TensorDataset(torch.randn(2 * batches, 3), torch.arange(2 * batches) % 2), batch_size=2)
    rates = Rates()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[rates],
        **(trainer or {"max_epochs": 2}),
    )
    trainer.fit(model, loader, loader)
    return rates.seen, trainer


# Optimisers


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_biases_and_normalisation_do_not_decay(kind):
    """Without a gradient, only the decay moves a weight."""
    net = nn.ModuleList([nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.Conv2d(1, 2, 3), nn.LSTM(3, 2)])
    for parameter in net.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    build(net, optimizer=kind, lr=0.5, weight_decay=0.4).step()
    for name, parameter in net.named_parameters():
        decays = name.rpartition(".")[2] in ("weight_ih_l0", "weight_hh_l0") or name in ("0.weight", "3.weight")
        expected = torch.full_like(parameter, 0.8 if decays else 1.0)
        torch.testing.assert_close(parameter.data, expected, msg=name)


def test_frozen_parameters_are_left_out():
    net = nn.Linear(3, 4)
    net.weight.requires_grad_(False)
    groups = build(net).param_groups
    assert [parameter.shape for group in groups for parameter in group["params"]] == [net.bias.shape]


@pytest.mark.parametrize(("kind", "decay"), [("SGD", 0), ("Adam", 0), ("AdamW", 0.01), ("NAdam", 0)])
def test_each_optimizer_keeps_its_own_decay(kind, decay):
    weights, biases = build(nn.Linear(3, 4), optimizer=kind).param_groups
    assert weights["weight_decay"] == decay
    assert biases["weight_decay"] == 0


# Muon takes no biases, and SparseAdam no gradients that are not sparse.
@pytest.mark.parametrize("kind", [name for name in OPTIMIZERS if name not in ("Muon", "SparseAdam")])
def test_every_optimizer_of_torch_at_its_own_defaults(kind):
    theirs = getattr(torch.optim, kind)([nn.Parameter(torch.zeros(2, 2))]).defaults
    mine = build(nn.Linear(3, 4), optimizer=kind)
    assert type(mine) is getattr(torch.optim, kind)
    fused = {"fused": True} if kind in FUSED else {}
    assert mine.defaults == theirs | fused


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("own", [{"fused": False}, {"foreach": True}])
def test_a_step_that_was_chosen_is_not_fused(kind, own):
    mine = build(nn.Linear(3, 4), optimizer=kind, lr=0.1, optimizer_args=own)
    assert not mine.defaults["fused"]


@pytest.mark.parametrize("kind", FUSED)
def test_a_fused_step_is_that_of_the_plain_one(kind):
    torch.manual_seed(0)
    nets = [nn.Linear(3, 4), nn.Linear(3, 4)]
    nets[1].load_state_dict(nets[0].state_dict())
    steps = [
        build(net, optimizer=kind, lr=0.1, optimizer_args=own)
        for net, own in zip(nets, [{}, {"fused": False}], strict=True)
    ]
    for _ in range(5):
        x = torch.randn(8, 3)
        for net, optimizer in zip(nets, steps, strict=True):
            optimizer.zero_grad()
            (net(x) - 1).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_of_a_fused_step_are_clipped(precision):
    """Lightning refuses that under bf16-mixed as long as the optimiser says that it unscales by itself (#21435)."""
    model = Classifier(nn.Linear(3, 2), 2, optimizer="SGD", lr=1.0)
    before = model.net.weight.detach().clone()
    clip = {"gradient_clip_val": 1e-3, "max_steps": 1, "precision": precision}
    fit(model, trainer=clip)
    assert 0 < (model.net.weight - before).norm() < 1.001e-3


@pytest.mark.parametrize("kind", [name for name in OPTIMIZERS if name not in ("Muon", "SparseAdam")])
def test_every_optimizer_of_torch_lowers_a_loss(kind):
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


@pytest.mark.parametrize("nesterov", [False, True])
def test_decoupled_decay_is_loshchilovs_and_hutters(nesterov):
    """Their algorithm 1, with the gradient taken where the weights were before they decayed."""
    net, x = nn.Linear(3, 2, bias=False).double(), torch.randn(4, 3).double()
    momentum = {"momentum": 0.9, "nesterov": nesterov}
    optimizer = build(net, optimizer="SGDW", lr=0.1, weight_decay=0.3, optimizer_args=momentum)
    assert type(optimizer) is SGDW
    weight, velocity = net.weight.detach().clone(), torch.zeros(2, 3).double()

    def loss():
        optimizer.zero_grad()
        value = net(x).square().sum()
        value.backward()
        return value.detach()

    for step in range(5):
        optimizer.param_groups[0]["lr"] = rate = 0.1 / (step + 1)  # as a schedule would
        before = (x @ weight.T).square().sum()
        gradient = 2 * (x @ weight.T).T @ x
        velocity = 0.9 * velocity + gradient
        update = gradient + 0.9 * velocity if nesterov else velocity
        weight = weight - rate * update - rate * 0.3 * weight
        torch.testing.assert_close(optimizer.step(loss), before)
        torch.testing.assert_close(net.weight.detach(), weight)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalized_keeps_directions_and_evens_out_their_lengths(shape):
    """Held against NumPy's singular value decomposition."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, lengths, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    found = left.T @ orthogonalized(matrix).float().numpy() @ right.T  # diagonal, if the directions are the same
    known = lengths / np.linalg.norm(lengths) > 0.1  # three steps bring so many of them up
    assert known.sum() >= 7
    assert ((found.diagonal()[known] > 0.5) & (found.diagonal()[known] < 1.5)).all()
    assert np.abs(found - np.diag(found.diagonal())).max() < 0.05  # bfloat16


def conv_muon(net, **given):
    args = {"momentum": 0.8, "conv_lr": 0.5, "conv_momentum": 0.6}
    return build(net, optimizer="ConvMuon", lr=0.1, weight_decay=0.3, optimizer_args=args | given)


def test_conv_muon_moves_all_but_filters_as_sgd_does():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    twin = copy.deepcopy(net)
    mine = conv_muon(net)
    theirs = build(twin, optimizer="SGD", lr=0.1, weight_decay=0.3, optimizer_args={"momentum": 0.8, "nesterov": True})
    for _ in range(3):
        for parameter, other in zip(net.parameters(), twin.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            other.grad = parameter.grad.clone()
        mine.step()
        theirs.step()
    for (name, parameter), other in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(parameter, other, atol=1e-6) == (name != "0.weight"), name


def test_conv_muon_moves_filters_by_hand():
    """w sqrt(n) / |w| - lr * (g + m v) made orthogonal, v = m v + g; over three steps, in any memory format."""
    torch.manual_seed(0)
    net = nn.Conv2d(8, 4, 3, bias=False).to(memory_format=torch.channels_last)
    optimizer = conv_muon(net)
    weight, gathered = net.weight.detach().flatten(1), torch.zeros(4, 72)
    for _ in range(3):
        gradient = torch.randn(4, 8, 3, 3)
        net.weight.grad = gradient.to(memory_format=torch.channels_last)
        optimizer.step()
        gathered = 0.6 * gathered + gradient.flatten(1)
        weight = 2 * weight / weight.norm() - 0.5 * orthogonalized(gradient.flatten(1) + 0.6 * gathered)
        torch.testing.assert_close(net.weight.detach().flatten(1), weight, atol=5e-3, rtol=0)  # bfloat16


def test_a_schedule_moves_both_rates_of_conv_muon_in_proportion():
    how = optimization("ConvMuon", lr=2.0, optimizer_args={"conv_lr": 0.5}, lr_scheduler="PolynomialLR")
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(3, 4))
    optimizer = how.build_optimizer(net.named_parameters())
    schedule = how.build_scheduler(optimizer, length=4, mode="min")
    optimizer.step()
    schedule.step()
    rates = {p.ndim: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {1: 1.5, 2: 1.5, 4: 0.375}


def test_conv_muon_goes_on_from_its_state():
    torch.manual_seed(0)
    net = nn.Conv2d(2, 4, 3)
    optimizer = conv_muon(net)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    twin = copy.deepcopy(net)
    other = conv_muon(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameter, copied in zip(net.parameters(), twin.parameters(), strict=True):
        parameter.grad = torch.randn_like(parameter)
        copied.grad = parameter.grad.clone()
    optimizer.step()
    other.step()
    assert all(map(torch.equal, net.parameters(), twin.parameters()))


def test_conv_muon_lowers_a_loss():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))
    optimizer, x = conv_muon(net), torch.randn(32, 1, 4, 4)

    def loss():
        optimizer.zero_grad()
        value = (net(x) - x.mean((1, 2, 3)).unsqueeze(1)).square().mean()
        value.backward()
        return value.detach()

    values = [optimizer.step(loss).item() for _ in range(30)]
    assert values[-1] < 0.5 * values[0]


def test_what_works_on_a_gpu_alone_is_not_tried_here():
    own = f"{__name__}.OnGPU"
    for how in (optimization("Adam", optimizer_args={"capturable": True}), optimization(own, lr=0.1)):
        assert how.build_optimizer(nn.Linear(3, 4).named_parameters()).param_groups


class OnGPU(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no GPU")


def test_an_optimizer_that_refuses_biases_says_so():
    with pytest.raises(InputError, match="Muon only supports 2D parameters"):
        optimization("Muon")


def test_arguments_reach_the_optimizer():
    groups = build(nn.Linear(3, 4), optimizer="SGD", lr=0.5, optimizer_args={"momentum": 0.9, "lr": 9}).param_groups
    assert [(group["momentum"], group["lr"]) for group in groups] == [(0.9, 0.5)] * 2


def test_a_dotted_path_names_a_class_outside():
    assert type(build(nn.Linear(3, 4), optimizer="torch.optim.sgd.SGD")) is torch.optim.SGD


@pytest.mark.parametrize(
    ("given", "message"),
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
def test_a_mistake_is_named_before_training(given, message):
    with pytest.raises(InputError) as error:
        optimization(**given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Schedules


def rates(steps, length=10, lr=0.5, mode="min", **given):
    """The learning rate of each of `steps` updates."""
    how = optimization("SGD", lr=lr, optimizer_args={"momentum": 0.9}, **given)
    optimizer = how.build_optimizer(nn.Linear(2, 2).named_parameters())
    scheduler = how.build_scheduler(optimizer, length, mode)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_warmup_cosine():
    """Three of ten steps rise to the learning rate, the other seven follow half a cosine to zero."""
    falling = [0.5 * 0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(8)]
    expected = [0.125, 0.25, 0.375, *falling, 0.0, 0.0]
    seen = rates(13, lr_scheduler="WarmupCosineLR", lr_scheduler_args={"warmup": 0.3})
    assert seen == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [1, 2, 4])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.6, 0.9])
def test_warmup_cosine_of_a_few_steps(total, warmup):
    """A run of few steps (fast_dev_run has one) learns in each of them, and ends at zero."""
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5)
    scheduler = WarmupCosineLR(optimizer, total, warmup)
    for _ in range(total):
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.5
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_every_length_is_filled_in():
    steps = range(10)
    assert rates(10, lr_scheduler="CosineAnnealingLR") == pytest.approx(
        [0.25 * (1 + math.cos(math.pi * k / 10)) for k in steps]
    )
    assert rates(10, lr_scheduler="PolynomialLR") == pytest.approx([0.5 * (1 - k / 10) for k in steps])
    one_cycle = rates(10, lr_scheduler="OneCycleLR")
    assert one_cycle[0] == pytest.approx(0.5 / 25)
    assert one_cycle[2] == max(one_cycle) == pytest.approx(0.5)  # pct_start 0.3 of ten steps
    assert one_cycle[9] == pytest.approx(0.5 / 25 / 1e4)


@pytest.mark.parametrize(("scheduler", "given"), [("OneCycleLR", {}), ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1})])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_cycle_of_rates_gives_no_momentum_to_who_has_none(scheduler, given, momentum):
    how = optimization(
        "SGD", lr=0.1, optimizer_args={"momentum": momentum}, lr_scheduler=scheduler, lr_scheduler_args=given
    )
    optimizer = how.build_optimizer(nn.Linear(2, 2).named_parameters())
    how.build_scheduler(optimizer, length=10, mode="min")
    assert [bool(group["momentum"]) for group in optimizer.param_groups] == [bool(momentum)] * 2


def test_one_cycle_makes_a_triangle():
    """From a fifth of the rate to all of it, and down to 7 %, as in Jordan 2024."""
    shape = {"pct_start": 0.3, "div_factor": 5, "final_div_factor": 20 / 7, "anneal_strategy": "linear"}
    expected = [0.5 * (0.2 + 0.8 * k / 2) for k in range(2)] + [0.5 * (1 - 0.93 * k / 7) for k in range(8)]
    assert rates(10, lr_scheduler="OneCycleLR", lr_scheduler_args=shape) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scheduler", "given"),
    [("CosineAnnealingLR", {"T_max": 4}), ("PolynomialLR", {"total_iters": 4}), ("WarmupCosineLR", {"total_steps": 4})],
)
def test_a_length_that_is_given_stays(scheduler, given):
    how = optimization(lr_scheduler=scheduler, lr_scheduler_args=given)
    assert how.interval == "epoch"
    assert rates(5, lr_scheduler=scheduler, lr_scheduler_args=given)[4] == pytest.approx(0)


@pytest.mark.parametrize("scheduler", LENGTH_FROM_TRAINER)
def test_an_endless_training_has_no_length(scheduler):
    how = optimization("SGD", optimizer_args={"momentum": 0.9}, lr_scheduler=scheduler)
    optimizer = how.build_optimizer(nn.Linear(2, 2).named_parameters())
    with pytest.raises(InputError, match=f"{scheduler} needs to know how long training is"):
        how.build_scheduler(optimizer, math.inf, "min")


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
def test_a_schedule_ends_with_the_training(trainer, updates):
    seen, after = fit(trainer=trainer, lr=0.1, lr_scheduler="CosineAnnealingLR")
    assert seen == pytest.approx([cosine(k, updates) for k in range(updates)])
    assert after.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_cycle_ends_with_the_training(accumulate):
    trainer = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    seen, _ = fit(trainer=trainer, lr=0.1, lr_scheduler="OneCycleLR")
    assert len(seen) == (6 if accumulate == 2 else 10)
    assert seen[0] == pytest.approx(0.1 / 25)
    assert seen[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert max(seen[1:-1]) > 0.08


def test_a_schedule_by_epochs():
    seen, _ = fit(
        batches=2, trainer={"max_epochs": 4}, lr=0.1, lr_scheduler="CosineAnnealingLR", lr_scheduler_interval="epoch"
    )
    assert seen == pytest.approx([cosine(k, 4) for k in (0, 0, 1, 1, 2, 2, 3, 3)])


def test_a_schedule_without_length_moves_each_epoch():
    seen, _ = fit(
        batches=2,
        trainer={"max_epochs": 3},
        lr=0.1,
        lr_scheduler="StepLR",
        lr_scheduler_args={"step_size": 1, "gamma": 0.5},
    )
    assert seen == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


class Scripted(Classifier):
    """Its validation accuracy is what the test says; its loss is the opposite of it."""

    def on_validation_epoch_end(self):
        accuracy = (0.1, 0.2, 0.3, 0.2, 0.1)[self.current_epoch]
        self.log_dict({"val/accuracy": accuracy, "val/loss": -accuracy, "val/f1": accuracy})


@pytest.mark.parametrize("watched", [{}, {"monitor": "val/accuracy"}, {"monitor": "val/loss"}, {"monitor": "val/f1"}])
def test_a_plateau_of_the_watched_metric_lowers_the_learning_rate(watched):
    model = Scripted(
        nn.Linear(3, 2),
        2,
        lr=0.1,
        lr_scheduler="ReduceLROnPlateau",
        lr_scheduler_args={"patience": 0, "factor": 0.5, **watched},
    )
    seen, trainer = fit(model, batches=1, trainer={"max_epochs": 5})
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)
