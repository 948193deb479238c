import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.metrics import mean_absolute_error, mean_squared_error
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.nets import MLP, RNN, CNN1d
from litnets.nets.layers.windowing import Window
from litnets.tasks import CNNForecaster, Forecaster, LinearForecaster, MLPForecaster, RNNForecaster

# The data is in memory, so workers would only slow down loading.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

NAMES = ["load", "OT"]
LINKED_ATTRIBUTES = {"channel_names": NAMES, "channel_mean": [3.0, -20.0], "channel_std": [0.5, 8.0]}
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def forecasts_and_targets(size=23):
    """Forecasts and targets `(size, horizon 4, channels 2)`; the second channel has larger errors."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(size, 4, 2))
    return (targets + rng.normal(size=(size, 4, 2)) * [0.3, 0.9]).astype("float32"), targets.astype("float32")


def evaluate(how="test", flat=False, **kwargs):
    """Return the metrics of a forecaster whose network is the identity, on batches of ten, ten and three samples."""
    forecasts, targets = map(torch.from_numpy, forecasts_and_targets())
    loader = DataLoader(TensorDataset(forecasts.flatten(1) if flat else forecasts, targets), batch_size=10)
    (metrics,) = getattr(Trainer(**QUIET), how)(
        Forecaster(nn.Identity(), 4, **LINKED_ATTRIBUTES, **kwargs), loader, verbose=False
    )
    return metrics


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("how", "split"), [("validate", "val"), ("test", "test")])
def test_metrics_of_scaled_values_match_sklearn(how, split, flat):
    forecasts, targets = forecasts_and_targets()
    metrics = evaluate(how, flat)
    assert metrics[f"{split}/mse"] == pytest.approx(mean_squared_error(targets.ravel(), forecasts.ravel()), rel=1e-5)
    assert metrics[f"{split}/mae"] == pytest.approx(mean_absolute_error(targets.ravel(), forecasts.ravel()), rel=1e-5)
    assert metrics[f"{split}/loss"] == pytest.approx(metrics[f"{split}/mse"], rel=1e-5)


def test_metrics_per_channel_are_in_data_units():
    forecasts, targets = (
        a * LINKED_ATTRIBUTES["channel_std"] + LINKED_ATTRIBUTES["channel_mean"] for a in forecasts_and_targets()
    )
    metrics = evaluate()
    for i, name in enumerate(NAMES):
        mse = mean_squared_error(targets[..., i].ravel(), forecasts[..., i].ravel())
        mae = mean_absolute_error(targets[..., i].ravel(), forecasts[..., i].ravel())
        assert metrics[f"test/rmse_in_units/{name}"] == pytest.approx(np.sqrt(mse), rel=1e-5)
        assert metrics[f"test/mae_in_units/{name}"] == pytest.approx(mae, rel=1e-5)


def test_metrics_of_a_single_channel_are_in_data_units():
    model = Forecaster(nn.Identity(), 4, channel_names=["OT"], channel_mean=[1.0], channel_std=[2.0])
    forecasts, targets = (torch.from_numpy(a[..., :1]) for a in forecasts_and_targets())
    (metrics,) = Trainer(**QUIET).test(
        model, DataLoader(TensorDataset(forecasts, targets), batch_size=10), verbose=False
    )
    assert metrics["test/mae_in_units/OT"] == pytest.approx(2 * metrics["test/mae"], rel=1e-5)


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_losses_match_numpy(name):
    forecasts, targets = forecasts_and_targets()
    error = np.abs(forecasts.astype(float) - targets)
    expected = {"mse": error**2, "mae": error, "huber": np.where(error < 1, error**2 / 2, error - 0.5)}[name]
    assert evaluate(loss=name)["test/loss"] == pytest.approx(expected.mean(), rel=1e-5)


def test_predictions_are_in_data_units():
    forecasts, targets = forecasts_and_targets()
    model = Forecaster(nn.Identity(), 4, **LINKED_ATTRIBUTES)
    (column,) = model.predict_step((torch.from_numpy(forecasts), torch.from_numpy(targets)), 0).values()
    np.testing.assert_allclose(
        column, forecasts * LINKED_ATTRIBUTES["channel_std"] + LINKED_ATTRIBUTES["channel_mean"], rtol=1e-5
    )


# Forecasters with a built-in network

FORECASTERS = [
    (LinearForecaster, {"window_norm": "standard", "init": "zeros"}),
    (
        MLPForecaster,
        {
            "hidden_layer_sizes": [7, 6],
            "activation": ["tanh", "gelu"],
            "dropout": [0.1, 0.2],
            "batch_norm": [True, False],
            "init": "he",
            "window_norm": "none",
            "share_channels": False,
        },
    ),
    (
        CNNForecaster,
        {
            "widths": [4, 6],
            "blocks_per_stage": 1,
            "kernel_size": 3,
            "activation": "silu",
            "norm": "batch",
            "dropout": 0.1,
            "residual": True,
            "pooling": "mean",
            "init": "xavier",
            "window_norm": "standard",
            "share_channels": False,
            "patch_length": 3,
        },
    ),
    (
        RNNForecaster,
        {
            "hidden_size": 5,
            "num_layers": 3,
            "cell": "gru",
            "bidirectional": True,
            "dropout": 0.1,
            "pooling": "attention",
            "init": "orthogonal",
            "window_norm": "standard",
            "share_channels": False,
            "patch_length": 4,
        },
    ),
]


def expected_net(task, kwargs):
    kwargs = dict(kwargs)
    window = [
        kwargs.pop(name, default)
        for name, default in (("window_norm", "last"), ("share_channels", True), ("patch_length", 1))
    ]
    features = 1 if window[1] else 2
    if task is LinearForecaster:
        net = MLP(12, 42, (), **kwargs)
    elif task is MLPForecaster:
        net = MLP(12 * features, 42 * features, **kwargs)
    elif task is CNNForecaster:
        net = CNN1d(window[2] * features, 42 * features, **({"pooling": "last"} | kwargs))
    else:
        net = RNN(window[2] * features, 42 * features, **kwargs)
    return Window(net, *window)


@pytest.mark.parametrize("defaults", [True, False])
@pytest.mark.parametrize(("task", "kwargs"), FORECASTERS)
def test_arguments_reach_the_network(task, kwargs, defaults):
    kwargs = {} if defaults else kwargs
    torch.manual_seed(0)
    model = task(input_shape=(12, 2), horizon=42, **LINKED_ATTRIBUTES, **kwargs)
    torch.manual_seed(0)
    expected = expected_net(task, kwargs)
    assert str(model.net) == str(expected)
    x = torch.randn(3, 12, 2)
    assert model.eval()(x).shape == (3, 42, 2)
    assert torch.equal(model(x), expected.eval()(x))


@pytest.mark.parametrize(("task", "kwargs"), FORECASTERS)
def test_a_checkpoint_restores_the_model_and_its_units(task, kwargs, tmp_path):
    model = task(input_shape=(12, 2), horizon=4, **LINKED_ATTRIBUTES, **kwargs, loss="huber", optimizer="SGD", lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(4, 12, 2), torch.randn(4, 4, 2)), batch_size=2)
    trainer = Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, loader, loader)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = task.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    x = torch.randn(3, 12, 2)
    assert torch.equal(loaded.eval()(x), model.eval()(x))
    assert loaded.hparams == model.hparams
    # A model built for other data forecasts in the units it was trained on, once the state dict is loaded.
    other = task(
        input_shape=(12, 2), horizon=4, channel_names=NAMES, channel_mean=[0.0] * 2, channel_std=[1.0] * 2, **kwargs
    )
    other.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"])
    batch = (x, torch.zeros(3))
    assert torch.equal(other.eval().predict_step(batch, 0)["prediction"], model.predict_step(batch, 0)["prediction"])


def test_zeros_init_starts_as_the_naive_forecast():
    x = torch.randn(3, 12, 2)
    model = LinearForecaster(input_shape=(12, 2), horizon=4, init="zeros", **LINKED_ATTRIBUTES)
    torch.testing.assert_close(model(x), x[:, -1:].expand(-1, 4, -1))


@pytest.mark.parametrize("task", [task for task, _ in FORECASTERS])
@pytest.mark.parametrize(
    ("shape", "horizon"), [((12, 2), None), ((1, 8, 8), None), ((None, 2), None), ((None, 2), 4), ((4,), 4)]
)
def test_forecasters_refuse_data_without_a_horizon(task, shape, horizon):
    with pytest.raises(InputError, match=rf"^{task.__name__} predicts the next steps .* use \w+Classifier for classes"):
        task(input_shape=shape, horizon=horizon, channel_names=None)


@pytest.mark.parametrize("task", [CNNForecaster, RNNForecaster])
@pytest.mark.parametrize("length", [5, 0, -1, 13])
def test_patches_must_fill_the_look_back(task, length):
    with pytest.raises(
        InputError, match=rf"patch_length: expected a divisor of the look-back of 12 steps, got {length}"
    ):
        task(input_shape=(12, 2), horizon=4, patch_length=length, **LINKED_ATTRIBUTES)


def test_a_custom_network_needs_a_horizon_too():
    with pytest.raises(InputError, match="Forecaster predicts the next steps"):
        Forecaster(nn.Identity(), None)


def test_check_monitor_accepts_only_logged_metrics():
    model = LinearForecaster(input_shape=(12, 2), horizon=4, **LINKED_ATTRIBUTES)
    for name in (model.monitor, "val/mae", "val/loss"):
        model.check_monitor(name)
    with pytest.raises(InputError, match=r"no metric 'val/accuracy' \(choose from: train/loss, val/loss, train/mse"):
        model.check_monitor("val/accuracy")
