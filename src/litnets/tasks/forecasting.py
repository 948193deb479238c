"""Forecaster: the task of saying what comes next in a series. The named ones are below, each a few lines."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, l1_loss, mse_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from litnets.errors import InputError
from litnets.nets import MLP, RNN, CNN1d
from litnets.nets.cnn1d import Norm
from litnets.nets.cnn1d import Pooling as Pooling1d
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.nets.layers.windowing import Window, WindowNorm
from litnets.nets.rnn import Cell, Pooling
from litnets.tasks.base import Batch, Inputs, Task
from litnets.tasks.metrics import reset_metrics

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse_loss, "mae": l1_loss, "huber": huber_loss}


class Forecaster(Task):
    """The next `horizon` steps of all channels at once. The data are scaled to mean 0 and standard deviation 1 in each
    channel of the training split.

    Metrics: mse and mae of the scaled values, over all steps and channels, as papers report them; at test time also
    rmse_in_units and mae_in_units of each channel, in the units of the data.

    Args:
        net: The network, `(N, look_back, channels) -> (N, horizon, channels)` or `(N, horizon * channels)`.
        horizon: Steps to forecast; linked from the data.
        channel_names: Names of the channels, for the results; linked from the data.
        channel_mean: What scaled each channel, and scales the predictions back; linked from the data.
        channel_std: Likewise.
        loss: `mse`, `mae` or `huber` (with delta 1), of the scaled values.
        **task: Arguments of `Task`: the optimiser and its schedule.

    Raises:
        InputError: Data that have no horizon.
    """

    monitor: ClassVar[str] = "val/mse"

    def __init__(
        self,
        net: nn.Module,
        horizon: int | None,
        channel_names: list[str] | None = None,
        channel_mean: list[float] | None = None,
        channel_std: list[float] | None = None,
        loss: Literal["mse", "mae", "huber"] = "mse",
        **task: Any,
    ) -> None:
        super().__init__(net, **task)
        if horizon is None or channel_names is None:
            raise _refusal(type(self).__name__)
        self.horizon, self.channel_names, self._loss = horizon, channel_names, _LOSSES[loss]
        channels = len(channel_names)
        # In the checkpoint, because there they belong to the weights: other data have other ones.
        self.register_buffer("channel_mean", torch.tensor(channel_mean or [0.0] * channels))
        self.register_buffer("channel_std", torch.tensor(channel_std or [1.0] * channels))
        self.set_metrics(
            train=MetricCollection({"mse": MeanSquaredError()}),
            evaluation=MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}),
        )
        self.per_channel = MetricCollection(
            {
                "rmse_in_units": MeanSquaredError(squared=False, num_outputs=channels),
                "mae_in_units": MeanAbsoluteError(num_outputs=channels),
            },
            prefix="test/",
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """The scaled forecast, `(N, horizon, channels)`."""
        out = super().forward(inputs)
        return out.reshape(len(out), self.horizon, -1).contiguous()  # the metrics look at it as one row

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._loss(outputs, targets)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        forecast = self._evaluation_step(batch, self.test_loss, self.test_metrics)
        self.per_channel.update(forecast.flatten(0, 1), batch[1].flatten(0, 1))  # (N * horizon, channels)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, values in self.per_channel.compute().items():
            in_units = values * self.channel_std
            self.log_dict({f"{name}/{c}": v for c, v in zip(self.channel_names, in_units.view(-1), strict=True)})
        reset_metrics(self.per_channel)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """`prediction`, `(N, horizon, channels)`, in the units of the data."""
        inputs = self.inputs_of(batch)
        return {"prediction": self(inputs) * self.channel_std + self.channel_mean}


class LinearForecaster(Forecaster):
    """A linear map from the look-back to the horizon, the same for every channel: the baseline that others must beat.
    With `window_norm` `last` it is the NLinear of Zeng et al. 2023, with `none` their Linear.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        horizon: Steps to forecast; linked from the data.
        window_norm: What each window is freed of: its `last` value, `standard` (mean and deviation), or `none`.
        init: How the weights start; `zeros` is right here, and begins with the forecast that nothing changes.
        **task: Arguments of `Forecaster` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        horizon: int | None,
        window_norm: WindowNorm = "last",
        init: Init = "default",
        **task: Any,
    ) -> None:
        look_back, _, steps = _sizes(input_shape, horizon, type(self).__name__)
        net = MLP(look_back, steps, hidden_layer_sizes=(), init=init)
        super().__init__(Window(net, window_norm), horizon=horizon, **task)


class MLPForecaster(Forecaster):
    """A multi-layer perceptron that forecasts.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        horizon: Steps to forecast; linked from the data.
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Name of the activation, one for all hidden layers or a list of one a layer.
        dropout: Probability that a hidden unit is dropped, one or a list.
        batch_norm: Whether a hidden layer normalises over the batch before its activation, one or a list.
        init: How the weights start.
        window_norm: What each window is freed of: its `last` value, `standard` (mean and deviation), or `none`.
        share_channels: Whether each channel is forecast from itself, all by one network; otherwise all from all.
        **task: Arguments of `Forecaster` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        horizon: int | None,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | list[Activation] = "relu",
        dropout: float | list[float] = 0.0,
        batch_norm: bool | list[bool] = False,
        init: Init = "default",
        window_norm: WindowNorm = "last",
        share_channels: bool = True,
        **task: Any,
    ) -> None:
        look_back, channels, steps = _sizes(input_shape, horizon, type(self).__name__)
        features = 1 if share_channels else channels
        net = MLP(look_back * features, steps * features, hidden_layer_sizes, activation, dropout, batch_norm, init)
        super().__init__(Window(net, window_norm, share_channels), horizon=horizon, **task)


class CNNForecaster(Forecaster):
    """A convolutional network along the time that forecasts.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        horizon: Steps to forecast; linked from the data.
        widths: Channels of each stage; the steps are halved between stages.
        blocks_per_stage: Convolution blocks in each stage.
        kernel_size: Odd number of steps that a convolution sees.
        activation: Name of the activation.
        norm: `layer`, `batch` or `none`.
        dropout: Probability that a channel (between stages) or a feature (before the last layer) is dropped.
        residual: Add each block's input to its output.
        pooling: How the steps become one vector: `mean`, `max` or `last`.
        init: How the weights start.
        window_norm: What each window is freed of: its `last` value, `standard` (mean and deviation), or `none`.
        share_channels: Whether each channel is forecast from itself, all by one network; otherwise all from all.
        patch_length: Consecutive steps that are read as one; a divisor of look_back.
        **task: Arguments of `Forecaster` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        horizon: int | None,
        widths: Sequence[int] = (64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 5,
        activation: Activation = "relu",
        norm: Norm = "layer",
        dropout: float = 0.0,
        residual: bool = False,
        pooling: Pooling1d = "last",
        init: Init = "default",
        window_norm: WindowNorm = "last",
        share_channels: bool = True,
        patch_length: int = 1,
        **task: Any,
    ) -> None:
        look_back, channels, steps = _sizes(input_shape, horizon, type(self).__name__)
        _check_patches(look_back, patch_length)
        features = 1 if share_channels else channels
        net = CNN1d(
            patch_length * features,
            steps * features,
            widths,
            blocks_per_stage,
            kernel_size,
            activation,
            norm,
            dropout,
            residual,
            pooling,
            init,
        )
        super().__init__(Window(net, window_norm, share_channels, patch_length), horizon=horizon, **task)


class RNNForecaster(Forecaster):
    """A recurrent network that reads the look-back and forecasts all of the horizon from its state.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        horizon: Steps to forecast; linked from the data.
        hidden_size: Units of each layer and direction.
        num_layers: Layers.
        cell: `lstm`, `gru` or `rnn`.
        bidirectional: Read the window from both ends.
        dropout: Probability that a unit is dropped between layers and before the last layer.
        pooling: How the steps become one vector: `last`, `mean`, `max` or `attention`.
        init: How the weights start.
        window_norm: What each window is freed of: its `last` value, `standard` (mean and deviation), or `none`.
        share_channels: Whether each channel is forecast from itself, all by one network; otherwise all from all.
        patch_length: Consecutive steps that are read as one; more make it faster, and its memory reach further. A
            divisor of look_back.
        **task: Arguments of `Forecaster` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        horizon: int | None,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        init: Init = "default",
        window_norm: WindowNorm = "last",
        share_channels: bool = True,
        patch_length: int = 1,
        **task: Any,
    ) -> None:
        look_back, channels, steps = _sizes(input_shape, horizon, type(self).__name__)
        _check_patches(look_back, patch_length)
        features = 1 if share_channels else channels
        net = RNN(
            patch_length * features,
            steps * features,
            hidden_size,
            num_layers,
            cell,
            bidirectional,
            dropout,
            pooling,
            init,
        )
        super().__init__(Window(net, window_norm, share_channels, patch_length), horizon=horizon, **task)


def _sizes(input_shape: Sequence[int | None], horizon: int | None, task: str) -> tuple[int, int, int]:
    """Look-back, channels and horizon.

    Raises:
        InputError: The data are no series to forecast.
    """
    if horizon is None or len(input_shape) != 2 or input_shape[0] is None or input_shape[1] is None:
        raise _refusal(task, input_shape)
    return input_shape[0], input_shape[1], horizon


def _check_patches(look_back: int, patch_length: int) -> None:
    if patch_length < 1 or look_back % patch_length:
        raise InputError(f"patch_length: expected a divisor of the look-back of {look_back} steps, got {patch_length}")


def _refusal(task: str, input_shape: Sequence[int | None] = ()) -> InputError:
    kind = "CNN" if task == "CNNForecaster" and len(input_shape) == 3 else "MLP"
    if task == "RNNForecaster" or None in input_shape:
        kind = "RNN"
    return InputError(
        f"{task} forecasts what comes next in a series, as in ETTh1 or SeriesCSV; these data have no horizon: "
        f"{kind}Classifier fits where targets are classes, {kind}Regressor where they are numbers"
    )
