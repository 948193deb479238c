import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from litnets.errors import InputError
from litnets.nets import RNN
from litnets.tasks import Classifier, MLPClassifier, Regressor

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


class RecordingLogger(Logger):
    """A logger that records the (step, metrics) pairs it receives."""

    name, version = "log", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


def trainer(**options):
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**{"accelerator": "cpu", "logger": False, "max_epochs": 1, **quiet, **options})


def loader(size=11, batch_size=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 3, generator=generator)
    return DataLoader(TensorDataset(x, torch.arange(size) % 3), batch_size=batch_size)


def cross_entropies(net, loader):
    x, y = (tensor.numpy() for tensor in loader.dataset.tensors)
    logits = x @ net.weight.detach().numpy().T + net.bias.detach().numpy()
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y], (logits.argmax(1) == y).mean()


def test_epoch_metrics_are_averaged_over_samples():
    """The batches have 4, 4 and 3 samples, so the mean of the batch means would differ."""
    model = Classifier(nn.Linear(3, 3), 3, lr=0.0)
    data = loader()
    losses, accuracy = cross_entropies(model.net, data)
    biased = np.mean([part.mean() for part in np.split(losses, [4, 8])])
    assert abs(biased - losses.mean()) > 1e-3
    run = trainer()
    run.fit(model, data, data)
    for split in ("train", "val"):
        assert run.callback_metrics[f"{split}/loss"].item() == pytest.approx(losses.mean(), abs=1e-5)
        assert run.callback_metrics[f"{split}/accuracy"].item() == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "batch_size"), [(33, 1), (64, 2), pytest.param(3 * 2**17, 2**17, marks=pytest.mark.slow)]
)
def test_training_metrics_count_every_step(size, batch_size):
    """33 and 32 steps, whose metric updates are batched, and three steps with large outputs, whose updates are not."""
    model = Classifier(nn.Linear(3, 3), 3, lr=0.0)
    data = loader(size, batch_size)
    losses, accuracy = cross_entropies(model.net, data)
    run = trainer()
    run.fit(model, data, loader(3))
    assert run.callback_metrics["train/loss"].item() == pytest.approx(losses.mean(), abs=1e-5)
    assert run.callback_metrics["train/accuracy"].item() == pytest.approx(accuracy, abs=1e-6)


class RecordSampleCount(Callback):
    """Record how many samples the training metrics have counted when `on_train_epoch_end` of the callbacks runs."""

    def __init__(self):
        self.samples = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.samples.append(int(pl_module.train_metrics["accuracy"].samples))


class StopAtBatch(Callback):
    """Request a stop within an epoch, or crash, at the n-th batch."""

    def __init__(self, batch, crash=False):
        self.batch, self.crash = batch, crash

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx + 1 == self.batch:
            trainer.should_stop = True
            if self.crash:
                raise RuntimeError("crash")


@pytest.mark.parametrize(
    ("options", "num_samples"),
    [
        ({}, 40),
        ({"max_steps": 5}, 10),
        ({"limit_train_batches": 3}, 6),
        ({"stop": StopAtBatch(7)}, 14),
        ({"stop": EarlyStopping("val/loss", stopping_threshold=1e9), "val_check_interval": 3}, 6),
    ],
)
def test_callbacks_see_complete_training_metrics_at_epoch_end(options, num_samples):
    stop = [options.pop("stop")] if "stop" in options else []
    recorder = RecordSampleCount()
    trainer(callbacks=[recorder, *stop], **options).fit(Classifier(nn.Linear(3, 3), 3), loader(40, 2), loader(3))
    assert recorder.samples == [num_samples]


def test_metrics_of_a_crashed_fit_do_not_leak_into_the_next():
    model, recorder = Classifier(nn.Linear(3, 3), 3), RecordSampleCount()
    with pytest.raises(RuntimeError, match="crash"):
        trainer(callbacks=[StopAtBatch(18, crash=True)]).fit(model, loader(40, 2), loader(3))
    trainer(callbacks=[recorder]).fit(model, loader(40, 2), loader(3))
    assert recorder.samples == [40]


@pytest.mark.parametrize("make", [lambda: Classifier(nn.Linear(3, 3), 3), lambda: Regressor(nn.Linear(3, 1), 1)])
def test_validate_and_test_before_and_between_fits(make):
    model, data = make(), loader()
    if isinstance(model, Regressor):
        data = DataLoader(TensorDataset(data.dataset.tensors[0], torch.randn(11, 1)), batch_size=4)
    for _ in range(2):
        before = trainer().validate(model, data, verbose=False)[0]["val/loss"]
        trainer().test(model, data, verbose=False)
        run = trainer(max_epochs=3)
        run.fit(model, data, data)
        assert run.callback_metrics["val/loss"] < before
        assert trainer(inference_mode=False).test(model, data, verbose=False)


def test_forward_may_return_several_tensors():
    class TwoHeads(Classifier):
        """A classifier with two heads."""

        def forward(self, inputs):
            return self.net(inputs).chunk(2, 1)

        def loss(self, outputs, targets):
            return sum(super(TwoHeads, self).loss(head, targets) for head in outputs)

        def train_metric_inputs(self, outputs):
            return outputs[0]

        def metric_inputs(self, outputs):
            return outputs[0].softmax(1)

    run = trainer()
    run.fit(TwoHeads(nn.Linear(3, 6), 3), loader(), loader())
    assert 0 <= run.callback_metrics["train/accuracy"] <= 1


def test_metrics_are_reset_each_epoch():
    model = Classifier(nn.Linear(3, 3), 3)
    log = RecordingLogger()
    trainer(max_epochs=3, logger=log, log_every_n_steps=1).fit(model, loader(), loader())
    logged = [row["val/loss"] for _, row in log.rows if "val/loss" in row]
    assert len(logged) == 3
    losses, _ = cross_entropies(model.net, loader())
    assert logged[-1] == pytest.approx(losses.mean(), abs=1e-5)


def test_metrics_are_reset_each_epoch_of_a_stream_of_unknown_length():
    class Stream(IterableDataset):
        """More samples than are used."""

        def __iter__(self):
            return iter([(torch.randn(3), torch.tensor(0))] * 20)

    model = Classifier(nn.Linear(3, 3), 3)
    run = trainer(max_epochs=2, limit_train_batches=2, log_every_n_steps=1)
    run.fit(model, DataLoader(Stream(), batch_size=4), loader())
    assert run.global_step == 4
    assert model.train_loss.update_count == 0
    assert model.train_loss.weight == 0


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3]), (3, [2])])
def test_step_loss_is_logged_every_n_steps(every, steps):
    log, data = RecordingLogger(), loader(size=18)
    model = Classifier(nn.Linear(3, 3), 3, lr=0.0)
    losses = [part.mean() for part in np.split(cross_entropies(model.net, data)[0], [4, 8, 12, 16])]
    trainer(logger=log, log_every_n_steps=every).fit(model, data, data)
    logged = {step: row["train/loss_step"] for step, row in log.rows if "train/loss_step" in row}
    assert logged == pytest.approx({step: losses[step] for step in steps}, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_outputs_are_float32_at_any_precision(dtype):
    model = Classifier(nn.Linear(3, 3), 3).to(dtype)
    x = torch.randn(2, 3)
    expected = torch.nn.functional.linear(x, model.net.weight.float(), model.net.bias.float())
    assert model(x).dtype == torch.float32
    torch.testing.assert_close(model(x), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_inputs_reach_the_network(kind):
    model = Classifier(RNN(3, 4, 5), 4)
    steps, lengths = torch.randn(2, 6, 3), torch.tensor([6, 2])
    torch.testing.assert_close(model(kind((steps, lengths))), model.net(steps, lengths))


def test_integer_inputs_are_not_cast():
    model = Classifier(nn.Embedding(7, 4), 4)
    assert model(torch.tensor([1, 6])).shape == (2, 4)


def test_training_separates_well_separated_classes():
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    x = nn.functional.one_hot(y).float() + 0.1 * torch.randn(60, 3)
    data = DataLoader(TensorDataset(x, y), batch_size=10)
    run = trainer(max_epochs=10)
    run.fit(Classifier(nn.Linear(3, 3), 3, lr=0.1), data, data)
    assert run.callback_metrics["val/accuracy"] == 1.0


def test_check_monitor_accepts_every_logged_metric():
    model = Classifier(nn.Linear(3, 3), 3)
    names = ["train/loss", "train/accuracy"]
    names += [f"val/{metric}" for metric in ("loss", "accuracy", "precision", "recall", "f1", "auroc")]
    for name in names:
        assert model.check_monitor(name) is None
    run = trainer()
    run.fit(model, loader(), loader())
    assert set(names) <= set(run.callback_metrics)


@pytest.mark.parametrize(
    ("monitor", "suggestion"), [("val/acc", "val/accuracy"), ("val_loss", "val/loss"), ("val/f1_score", "val/f1")]
)
def test_an_unknown_monitor_gets_a_suggestion(monitor, suggestion):
    model = Classifier(nn.Linear(3, 3), 3)
    with pytest.raises(InputError, match=f"no metric '{monitor}'; did you mean '{suggestion}'"):
        model.check_monitor(monitor)


def test_the_monitor_of_reduce_lr_on_plateau_is_checked():
    model = Classifier(nn.Linear(3, 3), 3, lr_scheduler="ReduceLROnPlateau", lr_scheduler_args={"monitor": "val/los"})
    with pytest.raises(InputError, match="no metric 'val/los'; did you mean 'val/loss'"):
        model.check_monitor("val/accuracy")


def test_a_nan_loss_makes_the_mean_nan() -> None:
    model = MLPClassifier(input_shape=(2,), num_classes=2)
    model.val_loss.update(torch.tensor(1.0), 3)
    model.val_loss.update(torch.tensor(float("nan")), 3)
    assert model.val_loss.compute().isnan()
    model.val_loss.reset()
    for loss, weight in ((1.0, 1), (4.0, 2)):
        model.val_loss.update(torch.tensor(loss), weight)
    assert model.val_loss.compute() == 3.0


def test_compiling_keeps_parameter_names():
    plain = MLPClassifier(input_shape=(3,), num_classes=3, hidden_layer_sizes=[4])
    compiled = MLPClassifier(input_shape=(3,), num_classes=3, hidden_layer_sizes=[4], compile=True)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert compiled.hparams["compile"] is True


def test_compiling_without_a_compiler_raises(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="compile: needs a C\\+\\+ compiler, but no-such-compiler is not installed"):
        MLPClassifier(input_shape=(3,), num_classes=3, compile=True)


class OnlyCompiled(nn.Linear):
    """A network that fails if it is run without having been compiled."""

    def forward(self, inputs):
        if not torch.compiler.is_compiling():
            raise RuntimeError("not compiled")
        return super().forward(inputs)


@pytest.mark.slow
def test_compiled_training_equals_eager_training(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    kinds = {OnlyCompiled: True, nn.Linear: False}
    states = []
    for kind, compile in kinds.items():
        torch.manual_seed(0)
        model = Classifier(kind(3, 3), 3, lr=0.1, compile=compile)
        trainer(max_epochs=2).fit(model, loader(), loader())
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1])
    with pytest.raises(RuntimeError, match="not compiled"):
        trainer().fit(Classifier(OnlyCompiled(3, 3), 3), loader(), loader())


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_metrics_and_losses_stay_in_float32_at_any_precision(precision):
    """A bfloat16 sum stops growing at 256 times its summands, and there are 600 batches."""
    data = loader(size=600, batch_size=1)
    model = Classifier(nn.Linear(3, 3), 3, class_counts=[1, 2, 3], class_weights="balanced")
    expected = trainer().test(model, data, verbose=False)[0]
    metrics = trainer(precision=precision).test(model, data, verbose=False)[0]
    assert model.net.weight.dtype in (torch.float64, torch.bfloat16)
    assert metrics["test/loss"] == pytest.approx(expected["test/loss"], rel=0.01)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val/mae", "min"), ("val/rmse", "min"), ("val/loss", "min"), ("train/loss", "min"), ("val/r2", "max")],
)
def test_plateau_mode_follows_the_monitor(monitor, mode):
    model = Regressor(nn.Linear(3, 1), 1, lr_scheduler="ReduceLROnPlateau", lr_scheduler_args={"monitor": monitor})
    model.trainer = trainer()
    assert model.configure_optimizers()["lr_scheduler"]["scheduler"].mode == mode


def test_plateau_mode_is_max_for_a_score():
    model = Classifier(nn.Linear(3, 3), 3, lr_scheduler="ReduceLROnPlateau", lr_scheduler_args={"monitor": "val/auroc"})
    model.trainer = trainer()
    assert model.configure_optimizers()["lr_scheduler"]["scheduler"].mode == "max"


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_target_statistics_stay_in_float32_at_any_precision(precision):
    mean, std = 200_003.3, 77.7
    model = Regressor(nn.Linear(3, 1), 1, target_mean=[mean], target_std=[std])
    data = DataLoader(TensorDataset(torch.ones(4, 3), torch.full((4, 1), mean)))
    trainer(precision=precision).validate(model, data, verbose=False)
    metric = model.val_metrics["r2"]
    for part, name in ((model, "target_mean"), (metric, "mean"), (model, "target_std"), (metric, "std")):
        value = getattr(part, name)
        assert value.dtype == torch.float32
        assert value.item() == torch.tensor(mean if "mean" in name else std)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_class_weights_and_prior_stay_in_float32_at_any_precision(precision):
    kwargs = {"class_counts": [4, 4, 3], "class_weights": "balanced", "class_prior": "balanced"}
    model = Classifier(nn.Linear(3, 3), 3, **kwargs)
    trainer(precision=precision).fit(model, loader(), loader())
    assert model.adjustment.dtype == model.criterion.weight.dtype == torch.float32
