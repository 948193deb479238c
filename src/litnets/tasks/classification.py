"""Classifier: the task of naming the class of a sample."""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MultilabelAccuracy,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)

from litnets.errors import InputError
from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.losses import build_loss
from litnets.tasks.metrics import ClassAUROC, FastAccuracy, FlagAUROC, reset_metrics
from litnets.tasks.mixup import Mixing
from litnets.tasks.test_time_augmentation import Views, check_views, forward_tta

# Which losses of torch.nn fit logits and classes, and which fit logits and flags.
_FOR_CLASSES = ("CrossEntropyLoss", "MultiMarginLoss")
_FOR_FLAGS = ("BCEWithLogitsLoss", "MultiLabelSoftMarginLoss")
_BINARY_LOGIT_LOSS = "BCEWithLogitsLoss"


class Classifier(Task):
    """One class out of two or many, or, where the data say so, a flag for each class: several may be set.

    The network gives one logit a class; with `loss: BCEWithLogitsLoss` and two classes it gives one, that of the second
    class. Metrics: accuracy; precision, recall, F1 (mean over the classes) and AUROC (each class against the rest,
    mean); at test time also precision, recall and F1 of every class. For flags all are means over the flags.

    Args:
        net: The network, `(N, ...) -> (N, num_classes)`.
        num_classes: Number of classes; linked from the data.
        class_names: Their names, for the results; linked from the data.
        class_counts: Training samples of each class, for balanced weights; linked from the data.
        class_shares: How often each class is met in the data, for `class_prior: data`; linked from the data.
        multilabel: Whether a target is one flag for each class; linked from the data.
        loss: Loss of torch.nn by name, or the dotted path of your own, a class that is called with logits and targets.
            By default CrossEntropyLoss, for flags BCEWithLogitsLoss.
        loss_args: Arguments of the loss, such as `{pos_weight: [3.0]}`.
        label_smoothing: Share of the target spread over all classes, in [0, 1) (Szegedy et al. 2016).
        class_weights: Weight of each class in the loss, or `balanced`: n / (num_classes * count), as in scikit-learn,
            counted from the training split.
        class_prior: How likely each class is where the network will be used, if other than among the training samples:
            a number for each, `balanced` for equally likely (better recall and F1 of rare classes, lower accuracy), or
            `data` for what the data state of themselves, where they train on a text once that they have many times. The
            training adds log(share of the training samples / prior) to the logits, so that without it they are
            right for that prior (Menon et al. 2021, the logit-adjusted loss).
        mixup: Blend each training input with another one, and their losses likewise, by a share drawn for each batch
            from Beta(mixup, mixup) (Zhang et al. 2018); 0 blends nothing. The training's accuracy then is that of
            blends.
        cutmix: Put a rectangle of another image into each training image; its area is drawn from Beta(cutmix, cutmix),
            and shares the loss (Yun et al. 2019). With `mixup` as well, each batch gets one of the two.
        test_views: What the logits of an image are the mean over, in a test or a prediction: `one`, the image as it is;
            `mirror`, with its mirror image; `mirror_shift`, these two with those shifted by a pixel up and to the left
            and down and to the right, which count half (Jordan 2024).
        **task: Arguments of `Task`: the optimiser and its schedule.

    Raises:
        InputError: Data without classes, a loss that does not fit them, or class weights, a prior or a smoothing that
            do not; inputs that cannot be mixed, or are no images to be mirrored.
    """

    monitor: ClassVar[str] = "val/accuracy"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        net: nn.Module | NetFactory,
        num_classes: int | None,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        class_shares: list[float] | None = None,
        multilabel: bool | None = None,
        loss: str | None = None,
        loss_args: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
        class_prior: list[float] | Literal["balanced", "data"] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        test_views: Views = "one",
        **task: Any,
    ) -> None:
        count = _check_classes(num_classes, type(self).__name__)
        binary_logit = count == 2 and loss == _BINARY_LOGIT_LOSS and not multilabel
        super().__init__(net(1 if binary_logit else count) if isinstance(net, NetFactory) else net, **task)
        self.class_names = class_names or [str(i) for i in range(count)]
        self.multilabel, self.binary_logit = bool(multilabel), binary_logit
        shape = self.hparams.get("input_shape")  # of the named task
        self.mixing = Mixing(mixup, cutmix, shape) if mixup or cutmix else None
        check_views(test_views, shape)
        self.test_views = test_views
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing: expected a share in [0, 1), got {label_smoothing}")
        arguments: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
        weights = _class_weights(class_weights, class_counts, count)
        if weights is not None:
            arguments["weight"] = weights
        self.criterion = self._criterion(count, loss, arguments, loss_args or {})
        self.adjustment: Tensor | None  # (num_classes,), added to the logits in training
        self.register_buffer("adjustment", None, persistent=False)
        if class_prior is not None:
            if self.multilabel or not isinstance(self.criterion, nn.CrossEntropyLoss):
                raise InputError("class_prior: it fits one class a sample and CrossEntropyLoss; leave one of them out")
            self.adjustment = _adjustment(class_prior, class_counts, class_shares, count)
        fast: dict[str, Any] = {"validate_args": False}
        fast["num_labels" if self.multilabel else "num_classes"] = count
        kinds = _FLAG_METRICS if self.multilabel else _CLASS_METRICS
        # A sample has one class, so that the mean over the samples is what is meant by accuracy.
        accuracy = {"average": "macro" if self.multilabel else "micro"}
        self.set_metrics(
            train=MetricCollection(
                {"accuracy": FastAccuracy() if self._by_logits else kinds["accuracy"](**accuracy, **fast)}
            ),
            evaluation=MetricCollection(
                {
                    "accuracy": kinds["accuracy"](**accuracy, **fast),
                    **{name: kinds[name](average="macro", **fast) for name in (*_EACH_CLASS, "auroc")},
                }
            ),
        )
        self.per_class = MetricCollection(
            {name: kinds[name](average="none", **fast) for name in _EACH_CLASS}, prefix="test/"
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.binary_logit:
            outputs = outputs.squeeze(1)
        loss: Tensor = self.criterion(outputs, targets.float() if self.binary_logit or self.multilabel else targets)
        return loss

    def training_forward(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.mixing is None:
            outputs: Tensor = self(inputs)
            return outputs, self.loss(self._adjust(outputs), targets)
        mixed, others, share = self.mixing(inputs)
        outputs = self(mixed)
        adjusted = self._adjust(outputs)
        return outputs, share * self.loss(adjusted, targets) + (1 - share) * self.loss(adjusted, targets[others])

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        # The only loss here whose mean is one over the weights of the samples.
        weights = self.criterion.weight if isinstance(self.criterion, nn.CrossEntropyLoss) else None
        return weights[targets].sum() if weights is not None else len(targets)

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """Probability of each class, or of each flag, `(N, num_classes)`."""
        if self.multilabel:
            return outputs.sigmoid()
        if self.binary_logit:
            return torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], 1)
        return outputs.softmax(1)

    def train_metric_inputs(self, outputs: Tensor) -> Tensor:
        return outputs if self._by_logits else self.metric_inputs(outputs)

    @property
    def _by_logits(self) -> bool:
        """Whether the highest output is the predicted class."""
        return not self.multilabel and not self.binary_logit

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:  # type: ignore[override]
        """Probabilities `(N, num_classes)`, for what draws figures of a test."""
        predictions = self._evaluation_step(batch, self.test_loss, self.test_metrics, self._forward_tta)
        self.per_class.update(predictions, batch[1])
        return predictions

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, values in self.per_class.compute().items():
            self.log_dict({f"{name}/{c}": value for c, value in zip(self.class_names, values, strict=True)})
        reset_metrics(self.per_class)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        inputs = self.inputs_of(batch)
        probabilities = self.metric_inputs(self._forward_tta(inputs))
        predictions = (probabilities > 0.5).long() if self.multilabel else probabilities.argmax(1)
        return {"prediction": predictions, "probability": probabilities}

    def _forward_tta(self, inputs: Inputs) -> Tensor:
        return forward_tta(self, inputs, self.test_views)

    def _adjust(self, outputs: Tensor) -> Tensor:
        """What is likely by `class_prior` as it is likely among the training samples."""
        return outputs if self.adjustment is None else outputs + self.adjustment

    def _criterion(
        self, count: int, loss: str | None, arguments: dict[str, Any], loss_args: dict[str, Any]
    ) -> nn.Module:
        name = loss or (_FOR_FLAGS if self.multilabel else _FOR_CLASSES)[0]
        if self.binary_logit and (taken := [key for key in arguments if key != "weight"] or list(arguments)):
            option = "class_weights" if taken == ["weight"] else taken[0]
            raise InputError(f"{option}: {name} takes none; for weights there is loss_args {{pos_weight: [w]}}")
        if name == _BINARY_LOGIT_LOSS and not self.multilabel and not self.binary_logit:
            raise InputError(f"loss: {name} tells two classes apart; these data have {count}: CrossEntropyLoss fits")
        size = count + 1  # another number than that of the classes, so that shapes are not taken for one another
        if self.multilabel:
            return build_loss(name, _FOR_FLAGS, arguments | loss_args, (size, count), torch.ones(size, count))
        if self.binary_logit:
            return build_loss(name, (_BINARY_LOGIT_LOSS,), loss_args, (size,), torch.ones(size))
        targets = torch.arange(size) % count
        return build_loss(name, _FOR_CLASSES, arguments | loss_args, (size, count), targets)


_EACH_CLASS = ("precision", "recall", "f1")
_CLASS_METRICS: dict[str, Any] = {
    "accuracy": MulticlassAccuracy,
    "precision": MulticlassPrecision,
    "recall": MulticlassRecall,
    "f1": MulticlassF1Score,
    "auroc": ClassAUROC,
}
_FLAG_METRICS: dict[str, Any] = {
    "accuracy": MultilabelAccuracy,
    "precision": MultilabelPrecision,
    "recall": MultilabelRecall,
    "f1": MultilabelF1Score,
    "auroc": FlagAUROC,
}


def _check_classes(num_classes: int | None, task: str) -> int:
    if num_classes is None:
        kind = next((kind for kind in ("CNN", "RNN") if task == f"{kind}Classifier"), "MLP")  # not each has all three
        raise InputError(
            f"{task} names classes, and the targets of these data are numbers: {kind}Regressor fits, or for a series "
            f"that goes on {kind}Forecaster"
        )
    return num_classes


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
    if not all(0 <= weight < math.inf for weight in given) or not any(given):
        raise InputError(f"class_weights: expected numbers from 0 up, not all of them 0, got {given}")
    return torch.tensor(given, dtype=torch.float)


def _adjustment(
    given: list[float] | Literal["balanced", "data"],
    counts: list[int] | None,
    shares: list[float] | None,
    num_classes: int,
) -> Tensor:
    """log(share of the training samples / prior) of each class, `(num_classes,)`."""
    if counts is None:
        raise InputError("class_prior: the data do not say how many samples a class has; leave it out")
    if given == "data":
        if shares is None:
            raise InputError("class_prior: the data do not say how often each class is met; give a list of numbers")
        prior = shares
    else:
        prior = [1.0] * num_classes if given == "balanced" else given
    if len(prior) != num_classes or not all(0 < share < math.inf for share in prior):  # nor is NaN above 0
        raise InputError(f"class_prior: expected {num_classes} numbers above 0, one a class, got {prior}")
    trained = torch.tensor([max(count, 1) for count in counts], dtype=torch.float)  # as for balanced weights
    wanted = torch.tensor(prior, dtype=torch.float)
    return (trained / trained.sum()).log() - (wanted / wanted.sum()).log()
