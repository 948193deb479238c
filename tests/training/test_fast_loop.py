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
    """A module that records the context and arguments of its hooks and, through `RecordHooks`, of callback hooks."""

    def __init__(self, returns="dict", scheduler=None, optimizer=torch.optim.SGD):
        super().__init__()
        self.net, self.drop = nn.Linear(2, 1), nn.Dropout(0.5)
        self.returns, self.scheduler, self.optimizer_class = returns, scheduler, optimizer
        self.events = []

    def note(self, who, name, *args):
        progress = self.trainer.fit_loop.epoch_loop.state_dict()
        counted = {key: value for key, value in progress.items() if "progress" in key}
        values = [arg.tolist() if isinstance(arg, torch.Tensor) else describe(arg) for arg in args]
        grads = [None if p.grad is None else p.grad.tolist() for p in self.parameters()]
        self.events.append((who, name, self._current_fx_name, values, grads, str(counted), torch.is_grad_enabled()))

    def training_step(self, batch, batch_idx):
        self.note("module", "training_step", batch, batch_idx)
        loss = self.net(self.drop(batch)).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        if self.returns == "none" and batch_idx == 1:
            return None
        return {"loss": loss, "more": batch_idx} if self.returns == "dict" else loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.net(batch).mean())

    def configure_optimizers(self):
        optimizer = self.optimizer_class(self.parameters(), 0.1)
        if self.scheduler is None:
            return optimizer
        if self.scheduler == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
            return [optimizer], [{"scheduler": schedule, "interval": "step", "monitor": "loss"}]
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": self.scheduler}]


def describe(arg):
    if isinstance(arg, dict):
        return {k: (v.tolist(), v.requires_grad) if isinstance(v, torch.Tensor) else v for k, v in arg.items()}
    return type(arg).__name__ if isinstance(arg, (torch.optim.Optimizer, torch.Tensor)) else arg


def module_hook(name):
    def hook(self, *args):
        self.note("module", name, *args)

    return hook


class ModelWithHooks(Model):
    """A module with every hook that the fast loop supports."""


for hook in HOOKS[2:7]:
    setattr(ModelWithHooks, hook, module_hook(hook))


class RecordHooks(Callback):
    def __init__(self, name="callback"):
        self.name = name


def callback_hook(name):
    def hook(self, trainer, module, *args):
        module.note(self.name, name, *args)

    return hook


for hook in HOOKS:
    setattr(RecordHooks, hook, callback_hook(hook))


class NoGradStepSGD(torch.optim.SGD):
    """An optimizer that calls its closure with gradients disabled."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure()
        super().step()
        return loss


class StopAfterFirstBatch(Callback):
    """Request a stop after the first batch."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = batch_idx == 0


class RecordingLogger(Logger):
    """A logger that records what is logged, and counts its saves."""

    name, version = "recording", 0

    def __init__(self):
        super().__init__()
        self.rows, self.saves = [], 0

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def save(self):
        self.saves += 1


class TransferHooks(LightningDataModule):
    """A data module that transforms batches in its transfer hooks."""

    def train_dataloader(self):
        return DataLoader(torch.arange(14.0).reshape(7, 2), batch_size=2)

    def val_dataloader(self):
        return DataLoader(torch.ones(2, 2))

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch + 1

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch * 0.1 * torch.rand(1)


class RowStream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(6.0).reshape(3, 2)


class Streaming(TransferHooks):
    def train_dataloader(self):
        return DataLoader(RowStream())


def fit(fast, model, datamodule=TransferHooks, more=(), start=None, **options):
    """Train with the fast loop or with Lightning's. Return the trainer and everything to compare."""
    torch.manual_seed(3)
    model = model()
    calls = []
    logger = RecordingLogger()
    quiet = {"logger": logger, "enable_checkpointing": False, "enable_progress_bar": False, "log_every_n_steps": 2}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[
            RecordHooks("first"),
            LambdaCallback(on_before_zero_grad=lambda *args: calls.append("zero_grad")),
            RecordHooks("second"),
            *more,
        ],
        enable_model_summary=False,
        **{"max_epochs": 2, "num_sanity_val_steps": 0, **quiet, **options},
    )
    if fast:
        install_epoch_loop(trainer, fast=True, seeds_data=False)
    trainer.fit(model, datamodule(), ckpt_path=start, weights_only=True)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    weights = [p.tolist() for p in model.parameters()]
    counts = trainer.fit_loop.state_dict(), trainer.global_step, trainer.current_epoch
    return trainer, (model.events, calls, metrics, weights, counts, logger.rows, logger.saves)


CASES = {
    "loss only": (lambda: Model("loss"), {}),
    "dict": (Model, {}),
    "no loss for one batch": (lambda: Model("none"), {}),
    "all hooks": (ModelWithHooks, {}),
    "schedule per step": (lambda: Model(scheduler="step"), {}),
    "schedule per epoch": (lambda: Model(scheduler="epoch"), {}),
    "closure called several times": (lambda: Model(optimizer=torch.optim.LBFGS), {"max_epochs": 1}),
    "closure called without gradients": (lambda: Model(optimizer=NoGradStepSGD), {}),
    "mixed precision": (ModelWithHooks, {"precision": "bf16-mixed"}),
    "gradient clipping by norm": (ModelWithHooks, {"gradient_clip_val": 0.01}),
    "gradient clipping by value": (Model, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "max_steps within an epoch": (ModelWithHooks, {"max_steps": 6, "max_epochs": -1}),
    "validation within an epoch": (Model, {"val_check_interval": 2, "max_epochs": 1}),
    "dataset of unknown length": (Model, {"datamodule": Streaming}),
    "limited batches": (Model, {"limit_train_batches": 2}),
    "plateau schedule": (lambda: Model(scheduler="plateau"), {}),
    "callback requests a stop": (Model, {"more": [StopAfterFirstBatch()]}),
    "stop delayed by min_steps": (Model, {"more": [StopAfterFirstBatch()], "min_steps": 7}),
    "validation every fifth batch": (
        Model,
        {"val_check_interval": 5, "check_val_every_n_epoch": None, "max_epochs": 3},
    ),
    "validation by time": (Model, {"val_check_interval": "00:00:00:00"}),
    "no validation": (Model, {"limit_val_batches": 0}),
    "fast_dev_run": (Model, {"fast_dev_run": True}),
    "no step logging": (Model, {"log_every_n_steps": 0}),
    "limited batches of a stream": (
        Model,
        {"datamodule": Streaming, "limit_train_batches": 2, "val_check_interval": 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fast_loop_equals_lightnings_loop(case):
    model, options = CASES[case]
    trainer, fast = fit(True, model, **options)
    assert trainer.fit_loop.epoch_loop._step is not None
    _, expected = fit(False, model, **options)
    assert len(fast[0]) > 10
    for event, expected_event in zip(fast[0], expected[0], strict=True):
        assert event == expected_event
    assert fast[1:] == expected[1:]


class SaveAtTrainStart(Callback):
    def __init__(self, path):
        self.path = path

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def test_resuming_from_before_the_first_batch_equals_lightning(tmp_path):
    start = tmp_path / "start.ckpt"
    fit(False, Model, more=[SaveAtTrainStart(start)], max_epochs=1)
    _, fast = fit(True, Model, start=start)
    _, expected = fit(False, Model, start=start)
    assert [event[1] for event in fast[0]].count("on_validation_start") == 2 * 2  # two callbacks, two epochs
    assert fast == expected


class ManualOptimization(Model):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.net(batch).mean())
        optimizer.step()


class CustomOptimizerStep(Model):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.events.append("optimizer_step")


class SkipsRestOfEpoch(Model):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 2 else None


class StepWithoutBatchIdx(Model):
    def training_step(self, batch):
        return super().training_step(batch, 0)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (ManualOptimization, {}),
        (CustomOptimizerStep, {}),
        (SkipsRestOfEpoch, {}),
        (StepWithoutBatchIdx, {}),
        (Model, {"accumulate_grad_batches": 2}),
        (Model, {"profiler": "simple"}),
        (Model, {"precision": "64-true"}),
    ],
)
def test_unsupported_features_fall_back_to_lightnings_step(model, options):
    if options.get("precision") == "64-true":
        options = {**options, "datamodule": DoublePrecisionData}
    trainer, results = fit(True, model, **options)
    assert trainer.fit_loop.epoch_loop._step is None
    assert results[1:] == fit(False, model, **options)[1][1:]
    assert trainer.global_step > 2


class DoublePrecisionData(TransferHooks):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch.double()


def test_an_invalid_step_output_raises_as_in_lightning():
    class InvalidOutput(Model):
        def training_step(self, batch, batch_idx):
            return {"los": 1}

    with pytest.raises(Exception, match="the 'loss' key needs to be present"):
        fit(True, InvalidOutput)


def run_fit(*options):
    with Signals() as signals:
        args = [*FIT, "--trainer.enable_progress_bar", "false", *options]
        return LitnetsCLI(args, signals).trainer


def test_cli_uses_the_fast_loop_unless_profiled():
    assert run_fit().fit_loop.epoch_loop._step is not None
    profiled = run_fit("--trainer.profiler", "simple")
    assert profiled.fit_loop.epoch_loop._step is None
    assert "run_training_batch" in profiled.profiler.summary()


def test_fast_loop_false_uses_lightnings_loop():
    trainers = [run_fit("--fast_loop", value) for value in ("true", "false")]
    assert [type(trainer.fit_loop.epoch_loop) for trainer in trainers] == [FastEpochLoop, TrainingEpochLoop]
    weights = [trainer.lightning_module.state_dict() for trainer in trainers]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("seeds_data", [False, True])
def test_an_untested_lightning_version_uses_lightnings_loop(seeds_data, monkeypatch, capsys):
    monkeypatch.setattr(assemble, "TESTED_LIGHTNING", ("1.0", "1.1"))
    trainer = Trainer(accelerator="cpu", max_steps=5, logger=False)
    install_epoch_loop(trainer, fast=True, seeds_data=seeds_data)
    assert type(trainer.fit_loop.epoch_loop) is (SeededEpochLoop if seeds_data else TrainingEpochLoop)
    assert trainer.max_steps == 5
    out = capsys.readouterr().out
    assert out == f"fast_loop: not tested with lightning {lightning.__version__} (but with 1.0, 1.1); not used\n"


def test_the_installed_lightning_version_is_listed():
    assert lightning.__version__ in TESTED_LIGHTNING, "if the tests in this file pass, add the version to the tuple"


def test_nvml_check_is_disabled_without_a_gpu(monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    disable_nvml_check()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    disable_nvml_check()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"
