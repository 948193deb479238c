"""Regressor: the task of giving numbers for a sample."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from litnets.errors import InputError
from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.losses import build_loss
from litnets.tasks.metrics import reset_metrics

# Which losses of torch.nn fit numbers of mean 0 and standard deviation 1.
_FOR_NUMBERS = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")


class Regressor(Task):
    """One number or several for each sample. The network gives them scaled, by the mean and the standard deviation of
    the training targets; the loss compares scaled ones; metrics and predictions are in the targets' own units.

    Metrics: R2, the mean absolute error (`mae`) and the root of the mean squared error (`rmse`), each the mean over the
    targets; at test time also those of every target, where there are several.

    Args:
        net: The network, `(N, ...) -> (N, num_targets)`.
        num_targets: Numbers in one target; linked from the data.
        target_names: Their names, for the results; linked from the data.
        target_mean: Mean of each over the training split; linked from the data.
        target_std: Standard deviation of each; linked from the data.
        loss: Loss of torch.nn by name (MSELoss, L1Loss, SmoothL1Loss, HuberLoss), or the dotted path of your own, a
            class that is called with scaled outputs and targets.
        loss_args: Arguments of the loss, such as `{delta: 0.5}`.
        **task: Arguments of `Task`: the optimiser and its schedule.

    Raises:
        InputError: Data whose targets are no numbers, or a loss that does not fit them.
    """

    target_mean: Tensor
    target_std: Tensor

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
        count = _check_targets(num_targets, type(self).__name__)
        super().__init__(net(count) if isinstance(net, NetFactory) else net, **task)
        self.target_names = target_names or [str(i) for i in range(count)]
        mean, std = torch.tensor(target_mean or [0.0] * count), torch.tensor(target_std or [1.0] * count)
        # In the checkpoint: its network's outputs mean nothing without them.
        self.register_buffer("target_mean", mean.float())
        self.register_buffer("target_std", std.float())
        self.criterion = build_loss(
            loss, _FOR_NUMBERS, loss_args or {}, (count + 1, count), torch.zeros(count + 1, count)
        )
        kinds: tuple[Kind, ...] = ("r2", "mae", "rmse")
        self.set_metrics(
            train=MetricCollection({"r2": Score("r2", self.target_mean, self.target_std)}),
            evaluation=MetricCollection({kind: Score(kind, self.target_mean, self.target_std) for kind in kinds}),
        )
        self.per_target = MetricCollection(
            {kind: Score(kind, self.target_mean, self.target_std, each=True) for kind in kinds}, prefix="test/"
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.criterion(outputs, (targets - self.target_mean) / self.target_std)
        return loss

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """The outputs in the targets' own units."""
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
        inputs = self.inputs_of(batch)
        values = self.metric_inputs(self(inputs))
        return {"prediction": values if len(self.target_names) > 1 else values.squeeze(1)}


Kind = Literal["r2", "mae", "rmse"]


class Score(Metric):
    """R2, mean absolute error or root mean squared error, of each target or their mean, over all samples and processes.

    Sums are kept of scaled values: in float32 those of numbers far from zero would lose their digits.

    Args:
        kind: Which one.
        mean: Mean of each target, `(targets,)`, taken off before the sums.
        std: Standard deviation of each, `(targets,)`.
        each: Whether to give one value for each target instead of their mean.
    """

    full_state_update = False
    count: Tensor
    errors: Tensor
    sums: Tensor
    squares: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, kind: Kind, mean: Tensor, std: Tensor, each: bool = False) -> None:
        super().__init__()
        self.kind, self.each = kind, each
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("std", std.clone(), persistent=False)
        for name in ("errors", "sums", "squares"):
            self.add_state(name, torch.zeros_like(mean), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        return self.kind == "r2"

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch, both `(N, targets)` and in the targets' own units."""
        error = (predictions - targets) / self.std
        self.errors += (error.abs() if self.kind == "mae" else error.square()).sum(0)
        self.count += len(targets)
        if self.kind == "r2":
            scaled = (targets - self.mean) / self.std
            self.sums += scaled.sum(0)
            self.squares += scaled.square().sum(0)

    def compute(self) -> Tensor:
        """A scalar, or `(targets,)`. R2 of targets that are all the same is 1 if they are met and else 0, as in
        scikit-learn."""
        mean_error = self.errors / self.count
        if self.kind == "r2":
            variance = self.squares / self.count - (self.sums / self.count).square()
            met = (mean_error == 0).float()
            # Below this the variance is rounding.
            value = torch.where(variance > 1e-12, 1 - mean_error / variance, met)
        else:
            value = (mean_error if self.kind == "mae" else mean_error.sqrt()) * self.std
        return value if self.each else value.mean()


def _check_targets(num_targets: int | None, task: str) -> int:
    if num_targets is None:
        raise InputError(
            f"{task} predicts numbers, and these data have none as targets: {task.replace('Regressor', 'Classifier')} "
            f"fits classes, {task.replace('Regressor', 'Forecaster')} a series that goes on"
        )
    return num_targets
