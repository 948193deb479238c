"""Forecaster: predict the next steps of a series."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, l1_loss, mse_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from litnets.errors import InputError
from litnets.nets.layers.windowing import Window, WindowNorm
from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.input_shapes import InputKind, Shape
from litnets.tasks.intervals import prediction_interval
from litnets.tasks.metrics import reset_metrics

_LOSSES: dict[str, Callable[..., Tensor]] = {"mse": mse_loss, "mae": l1_loss, "huber": huber_loss}


class Forecaster(Task):
    """Predict the next `horizon` steps of all channels of a series at once.

    The data are standardized per channel, by mean and standard deviation of the training split.

    Metrics: mse and mae of the standardized values over all steps and channels, as papers report them. A test also
    reports rmse_in_units and mae_in_units of each channel, in the units of the data.

    Args:
        net: The network, `(N, look_back, channels) -> (N, horizon, channels)` or `(N, horizon * channels)`.
        horizon: Steps to forecast; linked from the data.
        channel_names: Names of the channels, for the results; linked from the data.
        channel_mean: Mean of each channel over the training split; linked from the data.
        channel_std: Standard deviation of each channel over the training split; linked from the data.
        loss: `mse`, `mae` or `huber` (with delta 1), of the standardized values.
        **task: Arguments of `Task`: the optimizer and its learning-rate schedule.

    Raises:
        InputError: Data without a horizon.
    """

    predicts: ClassVar[str] = "the next steps of a series"
    monitor: ClassVar[str] = "val/mse"
    breakdown: ClassVar[str] = "channel"
    channel_mean: Tensor
    channel_std: Tensor
    half_widths: Tensor | None

    def __init__(
        self,
        net: nn.Module | NetFactory,
        horizon: int | None,
        channel_names: list[str] | None = None,
        channel_mean: list[float] | None = None,
        channel_std: list[float] | None = None,
        loss: Literal["mse", "mae", "huber"] = "mse",
        **task: Any,
    ) -> None:
        if horizon is None or channel_names is None or isinstance(net, NetFactory):
            raise self.wrong_targets(net)
        super().__init__(net, **task)
        self.horizon, self.channel_names, self._loss = horizon, channel_names, _LOSSES[loss]
        channels = len(channel_names)
        # Saved in the checkpoint: the weights belong to data of this scale.
        self.register_buffer("channel_mean", torch.tensor(channel_mean or [0.0] * channels))
        self.register_buffer("channel_std", torch.tensor(channel_std or [1.0] * channels))
        # Half the width of the prediction interval of each step and channel, `(horizon, channels)`, if the network is
        # calibrated.
        self.register_buffer("half_widths", None, persistent=False)
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

    @classmethod
    def can_read(cls, kind: InputKind) -> bool:
        return kind == "sequence" and super().can_read(kind)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the standardized forecast, `(N, horizon, channels)`."""
        out = super().forward(inputs)
        return out.reshape(out.shape[0], self.horizon, -1).contiguous()  # the metrics call view(-1)

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
        """Return `prediction`, `(N, horizon, channels)`, in the units of the data.

        Of a calibrated network, `lower` and `upper` are the bounds of its prediction interval.
        """
        values = self._in_units(self(self.inputs_of(batch)))
        return {"prediction": values, **prediction_interval(values, self.half_widths)}

    def sample_results(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return targets and forecast in the units of the data, and the loss of the standardized window."""
        losses = self._loss(outputs, targets, reduction="none").flatten(1).mean(1)
        return {"target": self._in_units(targets), "prediction": self._in_units(outputs), "loss": losses}

    def describe_results(self) -> dict[str, Any]:
        mean, std = self.channel_mean.tolist(), self.channel_std.tolist()
        return {"channel_names": self.channel_names, "channel_mean": mean, "channel_std": std}

    def _in_units(self, values: Tensor) -> Tensor:
        return values * self.channel_std + self.channel_mean


class WindowForecaster(Forecaster):
    """A forecaster that normalizes each window of the series, and may forecast the channels one by one.

    Args:
        net: The network.
        horizon: Steps to forecast; linked from the data.
        window_norm: Normalization of each window, undone in the forecast: subtract its `last` value, `standard`
            (subtract the mean and divide by the standard deviation), or `none`.
        share_channels: Whether the network forecasts each channel from that channel alone; otherwise it forecasts all
            channels from all channels.
        **task: Arguments of `Forecaster` and `Task`.
    """

    net: Window

    def __init__(
        self,
        net: NetFactory,
        horizon: int | None,
        *,
        window_norm: WindowNorm = "last",
        share_channels: bool = True,
        **task: Any,
    ) -> None:
        is_window = len(net.input_shape) == 2 and None not in net.input_shape
        if horizon is None or not is_window:
            raise self.wrong_targets(net)
        look_back, channels = net.input_shape
        features = 1 if share_channels else channels
        assert features is not None
        window = Window(net.build((look_back, features), horizon * features), window_norm, share_channels)
        super().__init__(window, horizon=horizon, **task)


class PatchForecaster(WindowForecaster):
    """A forecaster whose network reads several steps of the window at once.

    Args:
        net: The network, which reads a sequence.
        patch_length: Consecutive steps that the network reads as one, a divisor of the look-back; longer patches are
            faster, and let a recurrent network remember more.
        **task: Arguments of `WindowForecaster`, `Forecaster` and `Task`.
    """

    def __init__(self, net: NetFactory, *, patch_length: int = 1, **task: Any) -> None:
        def build(shape: Shape, out_features: int) -> nn.Module:
            look_back, features = shape
            assert look_back is not None
            assert features is not None
            if patch_length < 1 or look_back % patch_length:
                raise InputError(
                    f"patch_length: expected a divisor of the look-back of {look_back} steps, got {patch_length}"
                )
            return net.build((look_back // patch_length, features * patch_length), out_features)

        super().__init__(replace(net, build=build), **task)
        self.net.patch_length = patch_length
