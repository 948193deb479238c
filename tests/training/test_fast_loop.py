import os

import lightning
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from litnets.cli.app import LitnetsCLI
from litnets.internals import TrainingEpochLoop
from litnets.training import assemble
from litnets.training.assemble import install_epoch_loop
from litnets.training.fast_loop import TESTED_LIGHTNING, FastEpochLoop, disable_nvml_check
from litnets.training.resume.seeded_data import SeededEpochLoop
from litnets.training.signals import Signals

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:`training_step` returned `None`",
    "ignore:Trying to infer the `batch_size`",
)
HOOKS = [
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_train_epoch_end",
]
FIT = ["fit", "--model", "MLPClassifier", "--data", "XOR", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
FIT += ["--trainer.log_every_n_steps", "1"]


class Model(LightningModule):
    """Writes down every hook of its own and, through `Witness`, of a callback: where it was called and with what."""

    def __init__(self, returns="dict", scheduler=None, optimizer=torch.optim.SGD):
        super().__init__()
        self.net, self.drop = nn.Linear(2, 1), nn.Dropout(0.5)
        self.returns, self.scheduler, self.make = returns, scheduler, optimizer
        self.events = []

    def note(self, who, name, *args):
        progress = self.trainer.fit_loop.epoch_loop.state_dict()
        counted = {key: value for key, value in progress.items() if "progress" in key}
        values = [arg.tolist() if isinstance(arg, torch.Tensor) else described(arg) for arg in args]
        grads = [None if p.grad is None else p.grad.tolist() for p in self.parameters()]
        self.events.append((who, name, self._current_fx_name, values, grads, str(counted), torch.is_grad_enabled()))

    def training_step(self, batch, batch_idx):
        self.note("module", "training_step", batch, batch_idx)
        loss = self.net(self.drop(batch)).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        none = self.returns == "none" and batch_idx == 1
        return None if none else loss if self.returns != "dict" else {"loss": loss, "more": batch_idx}

    def validation_step(self, batch, batch_idx):
        self.log("val", self.net(batch).mean())

    def configure_optimizers(self):
        optimizer = self.make(self.parameters(), 0.1)
        if self.scheduler is None:
            return optimizer
        if self.scheduler == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
            return [optimizer], [{"scheduler": schedule, "interval": "step", "monitor": "loss"}]
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": self.scheduler}]


def described(arg):
    if isinstance(arg, dict):
        return {k: (v.tolist(), v.requires_grad) if isinstance(v, torch.Tensor) else v for k, v in arg.items()}
    return type(arg).__name__ if isinstance(arg, (torch.optim.Optimizer, torch.Tensor)) else arg


def noted(name):
    def hook(self, *args):
        self.note("module", name, *args)

    return hook


class Eager(Model):
    """Has every hook that a module may have and Lightning's step need not be taken for."""


for hook in HOOKS[2:7]:
    setattr(Eager, hook, noted(hook))


class Witness(Callback):
    def __init__(self, name="callback"):
        self.name = name


def witnessed(name):
    def hook(self, trainer, module, *args):
        module.note(self.name, name, *args)

    return hook


for hook in HOOKS:
    setattr(Witness, hook, witnessed(hook))


class WithoutGradients(torch.optim.SGD):
    """Leaves it to its closure to ask for them."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        super().step()
        return loss


class Stopping(Callback):
    """Asks for an end after the first batch."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = batch_idx == 0


class Kept(Logger):
    """Keeps what is logged, and how often it was told to save it."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows, self.saves = [], 0

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def save(self):
        self.saves += 1


class Moving(LightningDataModule):
    """Batches that it makes as they are moved, with hooks of its own."""

    def train_dataloader(self):
        return DataLoader(torch.arange(14.0).reshape(7, 2), batch_size=2)

    def val_dataloader(self):
        return DataLoader(torch.ones(2, 2))

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch + 1

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch * 0.1 * torch.rand(1)


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(6.0).reshape(3, 2)


class Streaming(Moving):
    def train_dataloader(self):
        return DataLoader(Stream())


def fit(lean, model, datamodule=Moving, more=(), start=None, **options):
    """The trainer after a training by Lightning's loop or by ours."""
    torch.manual_seed(3)
    model = model()
    seen = []
    kept = Kept()
    quiet = {"logger": kept, "enable_checkpointing": False, "enable_progress_bar": False, "log_every_n_steps": 2}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[
            Witness("first"),
            LambdaCallback(on_before_zero_grad=lambda *args: seen.append("zero_grad")),
            Witness("second"),
            *more,
        ],
        enable_model_summary=False,
        **{"max_epochs": 2, "num_sanity_val_steps": 0, **quiet, **options},
    )
    if lean:
        install_epoch_loop(trainer, fast=True, seeds_data=False)
    trainer.fit(model, datamodule(), ckpt_path=start, weights_only=True)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    weights = [p.tolist() for p in model.parameters()]
    counts = trainer.fit_loop.state_dict(), trainer.global_step, trainer.current_epoch
    return trainer, (model.events, seen, metrics, weights, counts, kept.rows, kept.saves)


CASES = {
    "a loss alone": (lambda: Model("loss"), {}),
    "a dict": (Model, {}),
    "no loss for a batch": (lambda: Model("none"), {}),
    "every hook": (Eager, {}),
    "a schedule of steps": (lambda: Model(scheduler="step"), {}),
    "a schedule of epochs": (lambda: Model(scheduler="epoch"), {}),
    "a closure that is called often": (lambda: Model(optimizer=torch.optim.LBFGS), {"max_epochs": 1}),
    "a closure that is called without gradients": (lambda: Model(optimizer=WithoutGradients), {}),
    "mixed precision": (Eager, {"precision": "bf16-mixed"}),
    "clipped gradients": (Eager, {"gradient_clip_val": 0.01}),
    "clipped values": (Model, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "an end within an epoch": (Eager, {"max_steps": 6, "max_epochs": -1}),
    "validation within an epoch": (Model, {"val_check_interval": 2, "max_epochs": 1}),
    "a length that nobody knows": (Model, {"datamodule": Streaming}),
    "few batches": (Model, {"limit_train_batches": 2}),
    "a schedule that waits for better": (lambda: Model(scheduler="plateau"), {}),
    "a callback that asks for an end": (Model, {"more": [Stopping()]}),
    "an end that has to wait": (Model, {"more": [Stopping()], "min_steps": 7}),
    "validation every fifth batch": (
        Model,
        {"val_check_interval": 5, "check_val_every_n_epoch": None, "max_epochs": 3},
    ),
    "validation by the clock": (Model, {"val_check_interval": "00:00:00:00"}),
    "no validation": (Model, {"limit_val_batches": 0}),
    "a trial of one batch": (Model, {"fast_dev_run": True}),
    "nothing logged by the step": (Model, {"log_every_n_steps": 0}),
    "part of a stream": (Model, {"datamodule": Streaming, "limit_train_batches": 2, "val_check_interval": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_lean_step_does_what_lightnings_does(case):
    model, options = CASES[case]
    trainer, lean = fit(True, model, **options)
    assert trainer.fit_loop.epoch_loop._step is not None
    _, lightnings = fit(False, model, **options)
    assert len(lean[0]) > 10
    for ours, theirs in zip(lean[0], lightnings[0], strict=True):
        assert ours == theirs
    assert lean[1:] == lightnings[1:]


class SavedAtTheStart(Callback):
    def __init__(self, path):
        self.path = path

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def test_what_was_saved_before_the_first_batch_is_gone_on_with_as_lightning_does(tmp_path):
    start = tmp_path / "start.ckpt"
    fit(False, Model, more=[SavedAtTheStart(start)], max_epochs=1)
    _, lean = fit(True, Model, start=start)
    _, lightnings = fit(False, Model, start=start)
    assert [event[1] for event in lean[0]].count("on_validation_start") == 2 * 2  # two callbacks, two epochs
    assert lean == lightnings


class Manual(Model):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.net(batch).mean())
        optimizer.step()


class OwnStep(Model):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.events.append("own")


class Skipping(Model):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 2 else None


class OnlyBatch(Model):
    def training_step(self, batch):
        return super().training_step(batch, 0)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (Manual, {}),
        (OwnStep, {}),
        (Skipping, {}),
        (OnlyBatch, {}),
        (Model, {"accumulate_grad_batches": 2}),
        (Model, {"profiler": "simple"}),
        (Model, {"precision": "64-true"}),
    ],
)
def test_what_is_more_than_a_plain_step_is_left_to_lightning(model, options):
    if options.get("precision") == "64-true":
        options = {**options, "datamodule": Doubled}
    trainer, found = fit(True, model, **options)
    assert trainer.fit_loop.epoch_loop._step is None
    assert found[1:] == fit(False, model, **options)[1][1:]
    assert trainer.global_step > 2


class Doubled(Moving):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch.double()


def test_a_mistake_in_a_step_is_said_as_lightning_says_it():
    class Wrong(Model):
        def training_step(self, batch, batch_idx):
            return {"los": 1}

    with pytest.raises(Exception, match="the 'loss' key needs to be present"):
        fit(True, Wrong)


def command(*options):
    with Signals() as signals:
        args = [*FIT, "--trainer.enable_progress_bar", "false", *options]
        return LitnetsCLI(args, signals).trainer


def test_the_command_uses_the_fast_loop_unless_it_is_profiled():
    assert command().fit_loop.epoch_loop._step is not None
    profiled = command("--trainer.profiler", "simple")
    assert profiled.fit_loop.epoch_loop._step is None
    assert "run_training_batch" in profiled.profiler.summary()


def test_fast_loop_false_uses_lightnings_loop():
    trainers = [command("--fast_loop", value) for value in ("true", "false")]
    assert [type(trainer.fit_loop.epoch_loop) for trainer in trainers] == [FastEpochLoop, TrainingEpochLoop]
    weights = [trainer.lightning_module.state_dict() for trainer in trainers]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("seeds_data", [False, True])
def test_an_untested_version_of_lightning_gets_its_own_loop(seeds_data, monkeypatch, capsys):
    monkeypatch.setattr(assemble, "TESTED_LIGHTNING", ("1.0", "1.1"))
    trainer = Trainer(accelerator="cpu", max_steps=5, logger=False)
    install_epoch_loop(trainer, fast=True, seeds_data=seeds_data)
    assert type(trainer.fit_loop.epoch_loop) is (SeededEpochLoop if seeds_data else TrainingEpochLoop)
    assert trainer.max_steps == 5
    said = capsys.readouterr().out
    assert said == f"fast_loop: not tested with lightning {lightning.__version__} (but with 1.0, 1.1); not used\n"


def test_the_installed_version_of_lightning_is_tested():
    assert lightning.__version__ in TESTED_LIGHTNING, "when the tests of this file pass, add the version to the tuple"


def test_optimizers_ask_the_short_way_for_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    disable_nvml_check()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    disable_nvml_check()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"
