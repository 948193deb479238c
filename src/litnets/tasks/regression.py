"""Regressor: predict one number or several for each sample."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.intervals import prediction_interval
from litnets.tasks.losses import build_loss
from litnets.tasks.metrics import reset_metrics
from litnets.tasks.sample_losses import loss_columns

# The losses of torch.nn for targets of mean 0 and standard deviation 1.
_LOSSES = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")


class Regressor(Task):
    """Predict one number or several for each sample.

    The network predicts standardized targets, and the loss compares standardized targets. Metrics and predictions are
    in the units of the data.

    Metrics: R2, mean absolute error (`mae`) and root mean squared error (`rmse`), each averaged over the targets. With
    several targets, a test also reports those of each target.

        model = Regressor(nn.Linear(20, 1), num_targets=1, target_mean=[5.2], target_std=[1.4], loss="L1Loss")

    Args:
        net: The network, `(N, ...) -> (N, num_targets)`.
        num_targets: Number of values to predict for a sample; linked from the data.
        target_names: Names of these values, for the results; linked from the data.
        target_mean: Mean of each value over the training split; linked from the data.
        target_std: Standard deviation of each value over the training split; linked from the data.
        loss: Loss of torch.nn by name (MSELoss, L1Loss, SmoothL1Loss, HuberLoss), or the dotted path of your own class,
            which is called with standardized outputs and targets.
        loss_args: Arguments of the loss, such as `{delta: 0.5}`. Default: none.
        **task: Arguments of `Task`: the optimizer and its learning-rate schedule.

    Raises:
        InputError: Data whose targets are not numbers, or a loss that does not fit.
    """

    predicts: ClassVar[str] = "numbers"
    breakdown: ClassVar[str] = "target"
    target_mean: Tensor
    target_std: Tensor
    half_widths: Tensor | None

    def __init__(
        self,
        net: nn.Module | NetFactory,
        num_targets: int | None,
        target_names: list[str] | None = None,
        target_mean: list[float] | None = None,
        target_std: list[float] | None = None,
        loss: str = "MSELoss",
        loss_args: dict[str, Any] | None = None,
        **task: Any,
    ) -> None:
        if num_targets is None:
            raise self.wrong_targets(net)
        super().__init__(net(num_targets) if isinstance(net, NetFactory) else net, **task)
        self.target_names = target_names or [str(i) for i in range(num_targets)]
        mean = torch.tensor(target_mean or [0.0] * num_targets)
        std = torch.tensor([value or 1.0 for value in target_std or [1.0] * num_targets])  # 0: a constant target
        # Saved in the checkpoint, because the outputs of the network mean nothing without them.
        self.register_buffer("target_mean", mean.float())
        self.register_buffer("target_std", std.float())
        # Half the width of the prediction interval of each target, `(num_targets,)`, if the network is calibrated.
        self.register_buffer("half_widths", None, persistent=False)
        shape = (num_targets + 1, num_targets)  # the batch size differs, so that a wrong shape does not fit
        self.criterion = build_loss(loss, _LOSSES, loss_args or {}, shape, torch.zeros(shape))
        self.configure_metrics()

    def configure_metrics(self) -> None:
        """Set the metrics of each split, and those of each target for a test."""
        kinds: tuple[Kind, ...] = ("r2", "mae", "rmse")
        self.set_metrics(
            train=MetricCollection({"r2": Score("r2", self.target_mean, self.target_std)}),
            evaluation=self._scores(kinds),
        )
        self.per_target = self._scores(kinds, each=True).clone(prefix="test/")

    def _scores(self, kinds: "tuple[Kind, ...]", each: bool = False) -> MetricCollection:
        scores: dict[str, Metric | MetricCollection] = {
            kind: Score(kind, self.target_mean, self.target_std, each) for kind in kinds
        }
        # Without compute groups, because torchmetrics would let metrics share a state if it is equal after the first
        # batch, such as errors of 0.
        return MetricCollection(scores, compute_groups=False)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.criterion(outputs, (targets - self.target_mean) / self.target_std)
        return loss

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """Return predictions in the units of the data."""
        return outputs * self.target_std + self.target_mean

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        predictions = self._evaluation_step(batch, self.test_loss, self.test_metrics)
        if len(self.target_names) > 1:
            self.per_target.update(predictions, batch[1])

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if len(self.target_names) > 1:
            for name, values in self.per_target.compute().items():
                self.log_dict({f"{name}/{t}": value for t, value in zip(self.target_names, values, strict=True)})
            reset_metrics(self.per_target)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """Return `prediction` in the units of the data, `(N,)` or `(N, num_targets)`.

        Of a calibrated network, `lower` and `upper` are the bounds of its prediction interval.
        """
        inputs = self.inputs_of(batch)
        values = self.metric_inputs(self(inputs))
        results = {"prediction": values, **prediction_interval(values, self.half_widths)}
        is_single = len(self.target_names) == 1
        return {name: column.squeeze(1) if is_single else column for name, column in results.items()}

    def sample_results(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return target and prediction in the units of the data, and the loss, which is of standardized values."""
        results = {"target": targets, "prediction": self.metric_inputs(outputs)}
        return results | loss_columns(self.criterion, self.loss, outputs, targets)

    def describe_results(self) -> dict[str, Any]:
        mean, std = self.target_mean.tolist(), self.target_std.tolist()
        return {"target_names": self.target_names, "target_mean": mean, "target_std": std}


Kind = Literal["r2", "mae", "rmse"]


class Score(Metric):
    """R2, mean absolute error or root mean squared error over all samples and ranks.

    It sums standardized values; for the variance of the targets, their differences from the first target. In float32,
    sums of numbers far from zero would lose precision.

    Args:
        kind: Which of the three scores.
        mean: Mean of each target, `(targets,)`.
        std: Standard deviation of each target, `(targets,)`.
        each: Whether to return one value per target instead of their mean.
    """

    full_state_update = True  # the states of two batches cannot be added, because each has its own origin
    count: Tensor
    errors: Tensor
    origin: Tensor
    sums: Tensor
    squares: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, kind: Kind, mean: Tensor, std: Tensor, each: bool = False) -> None:
        super().__init__()
        self.kind, self.each = kind, each
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("std", std.clone(), persistent=False)
        # Each rank measures its sums and squares from its own origin. None stacks the states of the ranks.
        self.add_state("errors", torch.zeros_like(mean), dist_reduce_fx="sum")
        for name in ("origin", "sums", "squares"):
            self.add_state(name, torch.zeros_like(mean), dist_reduce_fx=None)
        self.add_state("count", torch.tensor(0), dist_reduce_fx=None)

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        return self.kind == "r2"

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch of predictions and targets, both `(N, targets)` and in the units of the data."""
        error = (predictions - targets) / self.std
        is_first = self.count == 0
        self.errors += (error.abs() if self.kind == "mae" else error.square()).sum(0)
        self.count += len(targets)
        if self.kind == "r2":
            scaled = (targets - self.mean) / self.std
            self.origin = torch.where(is_first, scaled[0], self.origin)
            scaled = scaled - self.origin
            self.sums += scaled.sum(0)
            self.squares += scaled.square().sum(0)

    def compute(self) -> Tensor:
        """Return a scalar, or `(targets,)`. R2 of constant targets is 1 for exact predictions, else 0."""
        mean_error = self.errors / self.count.sum()
        if self.kind == "r2":
            variance = self._variance()
            exact = (mean_error == 0).float()
            value = torch.where(variance > 0, 1 - mean_error / variance, exact)
        else:
            value = (mean_error if self.kind == "mae" else mean_error.sqrt()) * self.std
        return value if self.each else value.mean()

    def _variance(self) -> Tensor:
        """Return the variance of the standardized targets, `(targets,)`."""
        counts = self.count.view(-1, 1)  # (ranks, 1)
        origin, sums, squares = (state.view(len(counts), -1) for state in (self.origin, self.sums, self.squares))
        # Measure all ranks from the same origin, that of the rank with the most samples.
        shift = origin - origin[counts.argmax()]
        squares = squares + 2 * shift * sums + counts * shift.square()
        sums = sums + counts * shift
        mean, mean_square = sums.sum(0) / counts.sum(), squares.sum(0) / counts.sum()
        variance = mean_square - mean.square()
        is_rounding_error = variance < torch.finfo(variance.dtype).eps * mean_square
        return torch.where(is_rounding_error, 0.0, variance)
