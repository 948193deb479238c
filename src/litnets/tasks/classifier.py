"""Classifier: the task of naming the class of a sample."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from litnets.errors import InputError
from litnets.tasks.task import Batch, Task


class Classifier(Task):
    """One class out of two or many, by cross entropy. The network gives one logit a class.

    Metrics: accuracy; precision, recall, F1 (mean over the classes) and AUROC (each class against the rest, mean); at
    test time also precision, recall and F1 of every class.

    Args:
        net: The network, `(N, ...) -> (N, num_classes)`.
        num_classes: Number of classes; linked from the data.
        class_names: Their names, for the results; linked from the data.
        class_counts: Training samples of each class, for balanced weights; linked from the data.
        label_smoothing: Share of the target spread over all classes, in [0, 1) (Szegedy et al. 2016).
        class_weights: Weight of each class in the loss, or `balanced`: n / (num_classes * count), as in scikit-learn,
            counted from the training split.
        **task: Arguments of `Task`: the optimiser and its schedule.

    Raises:
        InputError: Class weights that do not fit the classes.
    """

    monitor: ClassVar[str] = "val/accuracy"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
        **task: Any,
    ) -> None:
        super().__init__(net, **task)
        self.class_names = class_names or [str(i) for i in range(num_classes)]
        self.label_smoothing = label_smoothing
        weights = _class_weights(class_weights, class_counts, num_classes)
        self.register_buffer("class_weights", weights, persistent=False)
        fast: dict[str, Any] = {"num_classes": num_classes, "validate_args": False}
        self.set_metrics(
            train=MetricCollection({"accuracy": MulticlassAccuracy(average="micro", **fast)}),
            evaluation=MetricCollection(
                {
                    "accuracy": MulticlassAccuracy(average="micro", **fast),
                    "precision": MulticlassPrecision(average="macro", **fast),
                    "recall": MulticlassRecall(average="macro", **fast),
                    "f1": MulticlassF1Score(average="macro", **fast),
                    "auroc": MulticlassAUROC(**fast),
                }
            ),
        )
        self.per_class = MetricCollection(
            {
                "precision": MulticlassPrecision(average="none", **fast),
                "recall": MulticlassRecall(average="none", **fast),
                "f1": MulticlassF1Score(average="none", **fast),
            },
            prefix="test/",
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = self.class_weights
        assert weights is None or isinstance(weights, Tensor)
        return cross_entropy(outputs, targets, weight=weights, label_smoothing=self.label_smoothing)

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        weights = self.class_weights
        return weights[targets].sum() if isinstance(weights, Tensor) else len(targets)

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        predictions = self._evaluation_step(batch, self.test_loss, self.test_metrics)
        self.per_class.update(predictions, batch[1])

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, values in self.per_class.compute().items():
            self.log_dict({f"{name}/{c}": value for c, value in zip(self.class_names, values, strict=True)})
        self.per_class.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        inputs, _ = batch
        probabilities = self(inputs).softmax(1)
        return {"prediction": probabilities.argmax(1), "probability": probabilities}


def _class_weights(
    given: list[float] | Literal["balanced"] | None, counts: list[int] | None, num_classes: int
) -> Tensor | None:
    if given is None:
        return None
    if given == "balanced":
        if counts is None:
            raise InputError("class_weights: the data do not say how many samples a class has; give a list of numbers")
        return torch.tensor([sum(counts) / (num_classes * max(count, 1)) for count in counts])
    if len(given) != num_classes:
        raise InputError(f"class_weights: expected {num_classes} numbers, one a class, got {len(given)}")
    return torch.tensor(given, dtype=torch.float)
