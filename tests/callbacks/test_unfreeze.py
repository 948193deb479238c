"""Frozen stages do not change until their epoch, and a resumed run does not differ from an uninterrupted one."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.__main__ import main
from litnets.callbacks import EMA, Lookahead, Unfreeze
from litnets.errors import InputError
from litnets.tasks import Classifier
from litnets.training.assemble import install_epoch_loop
from tests.stress.interruptions import difference

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
QUIET |= {"accelerator": "cpu"}
SCHEDULE = {"head": 1, "stage2": 2, "rest": 4}
FIRST_EPOCHS = {"stage1": 4, "stage2": 2, "head": 1}


class Net(nn.Module):
    """Two convolutions with batch normalization, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Tanh())
        self.stage2 = nn.Sequential(nn.Conv2d(3, 3, 2, bias=False), nn.BatchNorm2d(3), nn.Tanh())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.stage2(self.stage1(x)))
        return out


class RecordStages(Callback):
    """Record the parameters and buffers of each stage before training, and after each epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, dict[str, Tensor]]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record(pl_module)

    def _record(self, module: Any) -> None:
        parts = module.net.named_children()
        self.states.append({name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in parts})


def loader(samples: int = 8) -> DataLoader[Any]:
    x = torch.randn(samples, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(samples) % 2), batch_size=2)


def fit(
    *callbacks: Callback, model: Classifier | None = None, fast: bool = False, **trainer: Any
) -> list[dict[str, dict[str, Tensor]]]:
    """Train for five epochs. Return the state of each stage before and after each epoch."""
    model = model or Classifier(Net(), 2, optimizer="SGD", lr=0.1)
    recorder = RecordStages()
    the_trainer = Trainer(**{"max_epochs": 5, **trainer}, callbacks=[*callbacks, recorder], **QUIET)
    if fast:
        install_epoch_loop(the_trainer, fast=True, seeds_data=False)
    the_trainer.fit(model, loader(), loader() if isinstance(model, Classifier) else None)
    return recorder.states


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def check_schedule(states: list[dict[str, dict[str, Tensor]]], first_epochs: dict[str, int] = FIRST_EPOCHS) -> None:
    """Check that each stage is bit-identical until its first epoch, and that all of it changes from then on."""
    for epoch, (before, after) in enumerate(pairwise(states), 1):
        for name, first_epoch in first_epochs.items():
            expected = set(before[name]) if epoch >= first_epoch else set()
            assert changed(before[name], after[name]) == expected, (epoch, name)


@pytest.mark.parametrize(
    ("optimizer", "args"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("AdamW", {}),
        ("Adam", {"foreach": True}),
        ("RMSprop", {"momentum": 0.9}),
        ("SGDW", {"momentum": 0.9}),
        ("ConvMuon", {}),
    ],
)
def test_frozen_stages_do_not_change_until_their_epoch(optimizer: str, args: dict[str, Any]) -> None:
    model = Classifier(Net(), 2, optimizer=optimizer, lr=0.1, weight_decay=0.1, optimizer_args=args)
    check_schedule(fit(Unfreeze(SCHEDULE), model=model))


@pytest.mark.parametrize(
    "options",
    [
        {"fast": True},
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.1},
        {"precision": "bf16-mixed"},
        {"val_check_interval": 2},
        {"num_sanity_val_steps": 0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_trainer_do_not_matter(options: dict[str, Any]) -> None:
    check_schedule(fit(Unfreeze(SCHEDULE), **options))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", [EMA, Lookahead])
def test_averages_of_frozen_weights_do_not_move(other: type[Callback], first: bool) -> None:
    callbacks = [other(), Unfreeze(SCHEDULE)]
    states = fit(*callbacks if first else callbacks[::-1])
    for before, after in pairwise(states[:4]):
        assert not changed(before["stage1"], after["stage1"])
    assert changed(states[3]["stage1"], states[4]["stage1"])


def test_a_number_unfreezes_one_more_stage_at_a_time() -> None:
    check_schedule(fit(Unfreeze(2)), {"head": 1, "stage2": 3, "stage1": 5})


def test_by_default_the_head_is_trained_alone_for_one_epoch() -> None:
    check_schedule(fit(Unfreeze()), {"head": 1, "stage2": 2, "stage1": 2})


def test_a_stage_without_an_epoch_is_never_trained(capsys: pytest.CaptureFixture[str]) -> None:
    check_schedule(fit(Unfreeze({"head": 1, "stage2": 3})), {"head": 1, "stage2": 3, "stage1": 99})
    assert capsys.readouterr().out == "trained from epoch 1: head; from epoch 3: stage2; never: stage1\n"


def test_running_statistics_can_be_kept() -> None:
    before, *_, after = fit(Unfreeze(SCHEDULE, keep_statistics=True))
    assert changed(before["stage1"], after["stage1"]) == {"0.weight", "1.weight", "1.bias"}
    assert changed(before["head"], after["head"]) == {"1.weight", "1.bias"}


def test_an_epoch_after_the_last_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    fit(Unfreeze(2), max_epochs=3)
    assert capsys.readouterr().out.splitlines() == [
        "trained from epoch 1: head; from epoch 3: stage2; from epoch 5: stage1",
        "note: not trained, because --trainer.max_epochs is 3: stage1",
    ]


def test_a_long_line_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [nn.Linear(3, 3) for _ in range(8)]
    fit(
        Unfreeze({"head": 1}), model=Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3), *layers), 3), max_epochs=1
    )
    assert capsys.readouterr().out == "trained from epoch 1: head; never: 8, 7, 6, 5, 4, 3 and 2 more\n"


def test_the_first_step_is_scaled_by_the_factor_of_the_stage() -> None:
    def first_changes(*callbacks: Callback, **options: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = Classifier(Net(), 2, optimizer="SGD", lr=0.1, **options)
        before, after = fit(*callbacks, model=model, max_epochs=1, limit_train_batches=1)
        weights = {"stage1": "0.weight", "stage2": "0.weight", "head": "1.weight"}
        return {stage: after[stage][name] - before[stage][name] for stage, name in weights.items()}

    plain = first_changes()
    factors = {"stage2": 0.5, "stage1": 0.1}
    scaled = first_changes(Unfreeze({"rest": 1}, factors))
    for stage, change in plain.items():
        torch.testing.assert_close(scaled[stage], change * factors.get(stage, 1.0))
    both = first_changes(Unfreeze({"rest": 1}, factors), layer_decay=0.8)
    for stage, decay in {"head": 1.0, "stage2": 0.8, "stage1": 0.64}.items():
        torch.testing.assert_close(both[stage], plain[stage] * factors.get(stage, 1.0) * decay)


def test_what_the_network_froze_itself_stays_frozen() -> None:
    model = Classifier(Net(), 2, lr=0.1)
    model.net.stage1[0].weight.requires_grad_(False)
    states = fit(Unfreeze(), model=model)
    assert "0.weight" not in changed(states[0]["stage1"], states[-1]["stage1"])
    assert not model.net.stage1[0].weight.requires_grad


@pytest.mark.parametrize("fails", [False, True])
def test_no_trace_is_left_in_the_model(fails: bool) -> None:
    class Fail(Callback):
        def on_train_batch_start(self, *args: object) -> None:
            if fails:
                raise RuntimeError("on purpose")

    model = Classifier(Net(), 2, lr=0.1)
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(Unfreeze({"head": 1}, {"head": 0.5}), Fail(), model=model)
    else:
        fit(Unfreeze({"head": 1}, {"head": 0.5}), model=model)
    assert len(model.configure_optimizers().param_groups) == 2
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.net.modules())
    check_schedule(fit(model=model), {"head": 1, "stage2": 1, "stage1": 1})


def test_any_lightning_module_is_unfrozen() -> None:
    class Plain(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 0.1)

    model: Any = Plain()
    check_schedule(fit(Unfreeze(SCHEDULE), model=model))
    with pytest.raises(InputError, match="Unfreeze: lr_factors: Plain is not a litnets task"):
        fit(Unfreeze(lr_factors={"rest": 0.1}), model=model)


# Resuming

FIT = ["--model", "CNNClassifier", "--model.widths", "[2, 3]", "--model.blocks_per_stage", "1", "--model.lr", "0.03"]
FIT += ["--data", "Digits", "--data.batch_size", "256", "--trainer.logger", "false", "--test_after_fit", "false"]
FIT += ["--recipe", "false", "--trainer.callbacks", "Unfreeze"]
FIT += ["--trainer.callbacks.schedule", "{head: 1, stages.1: 2, rest: 3}"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_a_training_resumed_after_any_epoch_equals_an_uninterrupted_one(epochs: int) -> None:
    def train(max_epochs: int, checkpoint: str | None = None) -> dict[str, Any]:
        torch.manual_seed(0)
        model = Classifier(Net(), 2, optimizer="SGD", lr=0.1, optimizer_args={"momentum": 0.9})
        trainer = Trainer(max_epochs=max_epochs, callbacks=[Unfreeze(SCHEDULE, {"stage1": 0.5})], **QUIET)
        trainer.fit(model, loader(), loader(), ckpt_path=checkpoint)
        trainer.save_checkpoint("last.ckpt")
        return torch.load("last.ckpt", weights_only=True)

    uninterrupted = train(5)
    train(epochs)
    resumed = train(5, "last.ckpt")
    for part in ("state_dict", "optimizer_states"):
        assert difference(resumed[part], uninterrupted[part]) is None


@pytest.mark.slow
def test_options_changed_on_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """A changed schedule and changed factors take effect, even within an epoch. The callback cannot be removed."""
    options = ["--trainer.max_epochs", "3", "--trainer.max_steps", "7"]  # an epoch has 5 steps
    assert main(["fit", *FIT, *options, "--trainer.callbacks.lr_factors", "{stages.0: 0.3}"]) == 0
    (config,) = Path("checkpoints").glob("*/*/config.yaml")
    before = torch.load(config.parent / "last.ckpt", weights_only=True)["state_dict"]
    text = config.read_text()
    assert text.count("stages.1: 2") == text.count("stages.0: 0.3") == text.count("max_steps: 7") == 1
    text = text.replace("stages.1: 2", "stages.1: 9").replace("max_steps: 7", "max_steps: -1")
    config.write_text(text.replace("stages.0: 0.3", "stages.0: 0.5"))
    capsys.readouterr()
    assert main(["resume", str(config.parent)]) == 0
    assert "trained from epoch 1: head; from epoch 3: stages.0; from epoch 9: stages.1" in capsys.readouterr().out
    checkpoint = torch.load(config.parent / "last.ckpt", weights_only=True)
    after = checkpoint["state_dict"]
    assert {name.split(".")[2] for name in after if not torch.equal(before[name], after[name])} == {"0", "3"}
    rates = {group["stage"]: group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]}
    assert rates == {"head": 0.03, "stages.1": 0.03, "stages.0": 0.015}
    assert main(["resume", str(config.parent), "--trainer.max_epochs", "4", "--trainer.callbacks", "[]"]) == 2
    assert "different parameter groups, because layer_decay or Unfreeze was added or removed" in capsys.readouterr().err


# Several processes, and torch.compile


@pytest.mark.slow
def test_two_processes_train_without_the_frozen_stages() -> None:
    """DDP would fail in the second step if it waited for their gradients."""
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    states = []
    for epochs in ("1", "2"):
        command = [sys.executable, "-m", "litnets", "fit", *FIT, *two, "--runs_dir", epochs]
        done = subprocess.run([*command, "--trainer.max_epochs", epochs], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (checkpoint,) = Path(epochs).glob("*/*/last.ckpt")
        states.append(torch.load(checkpoint, weights_only=True)["state_dict"])
    after_one, after_two = states
    assert {name.split(".")[2] for name in changed(after_one, after_two)} == {"1", "3"}  # stages.1 and head.3


@pytest.mark.slow
def test_a_compiled_network() -> None:
    model = Classifier(Net(), 2, optimizer="SGD", lr=0.1)
    model.net.compile(backend="aot_eager")
    check_schedule(fit(Unfreeze(SCHEDULE), model=model))


# Wrong input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": {"head": 0}}, "Unfreeze: schedule: head: expected an epoch, counted from 1, got 0"),
        ({"schedule": {"head": -2}}, "Unfreeze: schedule: head: expected an epoch, counted from 1, got -2"),
        ({"schedule": 0}, "Unfreeze: schedule: expected at least 1 epoch, got 0"),
        ({"lr_factors": {"head": 0.0}}, "lr_factors: head: expected a number above 0, got 0.0; to keep a stage frozen"),
        ({"lr_factors": {"head": -1.0}}, "Unfreeze: lr_factors: head: expected a number above 0, got -1.0"),
        ({"schedule": {"stage2": 2}}, "Unfreeze: schedule: no stage is trained in epoch 1; add one, such as head: 1"),
        (
            {"schedule": {"head": 1, "stag2": 2}},
            "Unfreeze: schedule: the network has no stage 'stag2'; did you mean 'stage2'? "
            "(choose from: head, stage2, stage1, rest)",
        ),
        ({"lr_factors": {"layer4": 0.1}}, "Unfreeze: lr_factors: the network has no stage 'layer4' (choose from: head"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        fit(Unfreeze(**arguments))
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_network_with_one_stage_is_refused() -> None:
    with pytest.raises(InputError, match="the network has a single stage, so nothing could be frozen"):
        fit(Unfreeze(), model=Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 2))


def test_a_strategy_that_shards_parameters_is_refused() -> None:
    trainer = Trainer(**QUIET)
    trainer.strategy.__class__ = FSDPStrategy
    with pytest.raises(InputError, match="auto or ddp, got FSDPStrategy"):
        Unfreeze().setup(trainer, Classifier(Net(), 2), "fit")
