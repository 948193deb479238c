"""Classifier: predict the class of a sample, or several labels at once."""

import math
import warnings
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
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

from litnets.errors import InputError, RenamedOptionWarning
from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.losses import build_class_weights, build_loss
from litnets.tasks.metrics import AUROC, FastAccuracy, log_odds, reset_metrics
from litnets.tasks.mixup import Mixing
from litnets.tasks.sample_losses import loss_columns
from litnets.tasks.test_time_augmentation import Views, check_views, forward_tta

# The losses of torch.nn for logits and class indices, and for logits and multi-label targets.
_CLASS_LOSSES = ("CrossEntropyLoss", "MultiMarginLoss")
_LABEL_LOSSES = ("BCEWithLogitsLoss", "MultiLabelSoftMarginLoss")
_BINARY_LOGIT_LOSS = "BCEWithLogitsLoss"

_PER_CLASS = ("precision", "recall", "f1")
_CLASS_METRICS: dict[str, Any] = {
    "accuracy": MulticlassAccuracy,
    "precision": MulticlassPrecision,
    "recall": MulticlassRecall,
    "f1": MulticlassF1Score,
}
_LABEL_METRICS: dict[str, Any] = {
    "accuracy": MultilabelAccuracy,
    "precision": MultilabelPrecision,
    "recall": MultilabelRecall,
    "f1": MultilabelF1Score,
}


class Classifier(Task):
    """Assign each sample one class, or, with multi-label targets, any number of labels.

    The network returns one logit per class. With `loss: BCEWithLogitsLoss` and two classes it returns a single logit,
    that of the second class.

    Metrics: accuracy; precision, recall and F1, averaged over the classes; AUROC, each class against the rest,
    averaged. A test also reports precision, recall and F1 of each class. With multi-label targets, all metrics are
    averages over the labels.

        model = Classifier(nn.Linear(20, 3), num_classes=3, label_smoothing=0.1, lr=0.01)

    Args:
        net: The network, `(N, ...) -> (N, num_classes)`.
        num_classes: Number of classes; linked from the data.
        class_names: Names of the classes, for the results; linked from the data.
        class_counts: Training samples per class, for balanced weights; linked from the data.
        class_shares: Frequency of each class in the data, for `class_prior: data`; linked from the data.
        multilabel: Whether targets are multi-label; linked from the data.
        loss: Loss of torch.nn by name, or the dotted path of your own class, which is called with logits and targets.
            Default: CrossEntropyLoss, or BCEWithLogitsLoss for multi-label targets.
        loss_args: Arguments of the loss, such as `{pos_weight: [3.0]}`. Default: none.
        label_smoothing: Fraction of the target that is spread over all classes, in [0, 1) (Szegedy et al. 2016).
        class_weights: Weight of each class in the loss, or `balanced`: n / (num_classes * count), as in scikit-learn,
            computed from the training split. With several processes, each divides by the weights in its own batch, so
            the gradient differs slightly from that of one process with all batches. Default: 1 for each class.
        class_prior: Class probabilities where the model will be used, if they differ from those of the training
            samples: one number per class; `balanced` for equal ones (better recall and F1 of rare classes, lower
            accuracy); or `data` for the frequencies that the data report, if training uses repeated samples only once.
            Training adds log(fraction of the training samples / prior) to the logits, so that the plain logits fit the
            prior (logit-adjusted loss, Menon et al. 2021). Default: the frequencies in the training split.
        mixup: Blend each training input, and its loss, with another one; the fraction is sampled per batch from
            Beta(mixup, mixup) (Zhang et al. 2018). 0 disables it. The training accuracy is that of the blended inputs.
        cutmix: Paste a rectangle of another image into each training image; its area is sampled from
            Beta(cutmix, cutmix) and weights the loss (Yun et al. 2019). 0 disables it. With `mixup` as well, each batch
            gets one of the two.
        tta: Test-time augmentation: average the logits over views of the image, in tests and predictions. `one` is the
            image alone; `mirror` adds its mirror image; `mirror_shift` also adds both, shifted by one pixel up and left
            and by one pixel down and right, with half the weight (Jordan 2024).
        test_views: Deprecated name of `tta`.
        **task: Arguments of `Task`: the optimizer and its learning-rate schedule.

    Raises:
        InputError: Data without classes; a loss, class weights, prior or label smoothing that does not fit; inputs that
            cannot be mixed or mirrored.
    """

    monitor: ClassVar[str] = "val/accuracy"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"
    predicts: ClassVar[str] = "classes"

    # The calibration of a trained network; see litnets.analysis.calibration. Predictions use it, training does not.
    temperature: float = 1.0  # divides the logits
    set_threshold: float | None = None  # the lowest probability of a class in the prediction set

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
        tta: Views = "one",
        test_views: Views | None = None,
        **task: Any,
    ) -> None:
        if num_classes is None:
            raise self.wrong_targets(net)
        binary_logit = num_classes == 2 and loss == _BINARY_LOGIT_LOSS and not multilabel
        super().__init__(net(1 if binary_logit else num_classes) if isinstance(net, NetFactory) else net, **task)
        self.num_classes = num_classes
        self.class_names = class_names or [str(i) for i in range(num_classes)]
        self.multilabel, self.binary_logit = bool(multilabel), binary_logit
        input_shape = self.hparams.get("input_shape")  # of a class that pairs a network with this task
        self.mixing = Mixing(mixup, cutmix, input_shape) if mixup or cutmix else None
        self.tta = tta if test_views in (None, "one") else _former_tta(test_views)  # `one` was its default
        check_views(self.tta, input_shape)
        weights = build_class_weights(class_weights, class_counts, num_classes)
        self.configure_loss(loss, loss_args or {}, label_smoothing, weights)
        self.adjustment: Tensor | None  # (num_classes,), added to the logits in training
        self.register_buffer("adjustment", None, persistent=False)
        if class_prior is not None:
            if self.multilabel or not isinstance(self.criterion, nn.CrossEntropyLoss):
                raise InputError("class_prior: needs single-label classes and CrossEntropyLoss; leave out one of them")
            self.adjustment = _logit_adjustment(class_prior, class_counts, class_shares, num_classes)
        self.configure_metrics()

    def configure_loss(
        self, name: str | None, loss_args: dict[str, Any], label_smoothing: float, class_weights: Tensor | None
    ) -> None:
        """Set `self.criterion`.

        Raises:
            InputError: The loss does not fit the classes, or does not take an argument.
        """
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing: expected a fraction in [0, 1), got {label_smoothing}")
        name = name or (_LABEL_LOSSES if self.multilabel else _CLASS_LOSSES)[0]
        arguments: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
        if class_weights is not None:
            arguments["weight"] = class_weights
        if self.binary_logit and arguments:
            option = "label_smoothing" if label_smoothing else "class_weights"
            raise InputError(f"{option}: {name} does not support it; for weights use loss_args {{pos_weight: [w]}}")
        classes = self.num_classes
        if name == _BINARY_LOGIT_LOSS and not self.multilabel and not self.binary_logit:
            raise InputError(f"loss: {name} is for two classes, but the data have {classes}; use CrossEntropyLoss")
        size = classes + 1  # a batch size other than the number of classes, so that a wrong shape does not fit
        builtin: tuple[str, ...]
        outputs: tuple[int, ...]
        if self.multilabel:
            builtin, outputs, targets = _LABEL_LOSSES, (size, classes), torch.ones(size, classes)
        elif self.binary_logit:
            builtin, outputs, targets = (_BINARY_LOGIT_LOSS,), (size,), torch.ones(size)
        else:
            builtin, outputs, targets = _CLASS_LOSSES, (size, classes), torch.arange(size) % classes
        self.criterion = build_loss(name, builtin, arguments | loss_args, outputs, targets)
        weights, ignored = getattr(self.criterion, "weight", None), getattr(self.criterion, "ignore_index", -1)
        # The class that the loss leaves out (`loss_args: {ignore_index: 2}`).
        self._ignored_class = ignored if 0 <= ignored < classes else None
        # Whether all samples of a batch may have a weight of 0.
        self._may_count_nothing = self._ignored_class is not None or (weights is not None and not weights.all())

    def configure_metrics(self) -> None:
        """Set the metrics of each split, and those of each class for a test."""
        metrics = _LABEL_METRICS if self.multilabel else _CLASS_METRICS
        common: dict[str, Any] = {"validate_args": False}
        common["num_labels" if self.multilabel else "num_classes"] = self.num_classes
        # With one class per sample, the plain accuracy is the micro average.
        accuracy = metrics["accuracy"](average="macro" if self.multilabel else "micro", **common)
        averaged = {name: metrics[name](average="macro", **common) for name in _PER_CLASS}
        self.set_metrics(
            train=MetricCollection({"accuracy": FastAccuracy() if self._predicts_argmax else accuracy}),
            evaluation=MetricCollection({"accuracy": accuracy, "auroc": AUROC(), **averaged}),
        )
        self.per_class = MetricCollection(
            {name: metrics[name](average="none", **common) for name in _PER_CLASS}, prefix="test/"
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._may_count_nothing and not self.loss_weight(targets):
            return outputs.sum() * 0  # torch divides by the weight, and 0 / 0 is NaN
        if self.binary_logit:
            outputs = outputs.squeeze(1)
        loss: Tensor = self.criterion(outputs, targets.float() if self.binary_logit or self.multilabel else targets)
        return loss

    def training_forward(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.mixing is None:
            outputs: Tensor = self(inputs)
            return outputs, self.loss(self._adjust(outputs), targets)
        mixed, partners, weight = self.mixing(inputs)
        outputs = self(mixed)
        adjusted = self._adjust(outputs)
        return outputs, weight * self.loss(adjusted, targets) + (1 - weight) * self.loss(adjusted, targets[partners])

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        # Only the mean of CrossEntropyLoss is weighted by the samples, or leaves samples out.
        if not isinstance(self.criterion, nn.CrossEntropyLoss):
            return len(targets)
        counted = targets if self._ignored_class is None else targets[targets != self._ignored_class]
        weights = self.criterion.weight
        return len(counted) if weights is None else weights[counted].sum()

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class or label, `(N, num_classes)`."""
        if self.multilabel:
            return outputs.sigmoid()
        if self.binary_logit:
            return torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], 1)
        return outputs.softmax(1)

    def update_metrics(self, metrics: MetricCollection, outputs: Tensor, targets: Tensor) -> Tensor:
        probabilities = self.metric_inputs(outputs)
        metrics.update(probabilities, targets, scores=self._scores(outputs, probabilities))
        return probabilities

    def _scores(self, outputs: Tensor, probabilities: Tensor) -> Tensor:
        """Return numbers that order the samples by the probability of each class or label, `(N, num_classes)`."""
        if type(self).metric_inputs is not Classifier.metric_inputs:
            return probabilities  # the outputs of such a subclass need not be logits
        if self.multilabel:
            return outputs
        return torch.cat([-outputs, outputs], 1) if self.binary_logit else log_odds(outputs)

    def train_metric_inputs(self, outputs: Tensor) -> Tensor:
        return outputs if self._predicts_argmax else self.metric_inputs(outputs)

    @property
    def _predicts_argmax(self) -> bool:
        """Whether the predicted class is the index of the largest output."""
        return not self.multilabel and not self.binary_logit

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:  # type: ignore[override]
        """Return probabilities `(N, num_classes)`, for callbacks that draw figures."""
        predictions = self._evaluation_step(batch, self.test_loss, self.test_metrics, self.test_forward)
        self.per_class.update(predictions, batch[1])
        return predictions

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, values in self.per_class.compute().items():
            self.log_dict({f"{name}/{c}": value for c, value in zip(self.class_names, values, strict=True)})
        reset_metrics(self.per_class)

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """Return `prediction` and `probability`; multi-label predictions are 0 or 1 for each label.

        Of a calibrated network, `set` is the prediction set: whether it includes each class or label,
        `(N, num_classes)`. It always includes the prediction.
        """
        outputs = self.test_forward(self.inputs_of(batch))
        probabilities = self.metric_inputs(outputs)
        prediction = self._decide(probabilities)  # before the calibration, which might round two probabilities to one
        if self.temperature != 1:
            probabilities = self.metric_inputs(outputs / self.temperature)
        results = {"prediction": prediction}
        if self.set_threshold is not None:
            predicted = prediction if self.multilabel else one_hot(prediction, self.num_classes)
            results["set"] = (probabilities >= self.set_threshold) | predicted.bool()
        return {**results, "probability": probabilities}

    def test_forward(self, inputs: Inputs) -> Tensor:
        return forward_tta(self, inputs, self.tta)

    def sample_results(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return target, prediction, logits and loss; of a single-label prediction also its probability."""
        probabilities = self.metric_inputs(outputs)
        predictions = self._decide(probabilities)
        results = {"target": targets.long(), "prediction": predictions}
        if not self.multilabel:
            results["probability"] = probabilities.gather(1, predictions.unsqueeze(1)).squeeze(1)
        results |= loss_columns(self.criterion, self.loss, outputs, targets)
        # The outputs of a subclass with other probabilities need not be logits.
        has_logits = type(self).metric_inputs is Classifier.metric_inputs
        return {**results, "logit" if has_logits else "output": outputs}

    def describe_results(self) -> dict[str, Any]:
        return {"class_names": self.class_names, "multilabel": self.multilabel}

    def _decide(self, probabilities: Tensor) -> Tensor:
        """Return the most probable class, `(N,)`, or 0 or 1 for each label, `(N, labels)`."""
        return (probabilities > 0.5).long() if self.multilabel else probabilities.argmax(1)

    def _adjust(self, outputs: Tensor) -> Tensor:
        """Shift the logits from `class_prior` to the class frequencies of the training samples."""
        return outputs if self.adjustment is None else outputs + self.adjustment


def _former_tta(test_views: Views) -> Views:
    text = f"the option test_views is now called tta; replace it by tta: {test_views}"
    warnings.warn(text, RenamedOptionWarning, 3)
    return test_views


def _logit_adjustment(
    class_prior: list[float] | Literal["balanced", "data"],
    counts: list[int] | None,
    shares: list[float] | None,
    num_classes: int,
) -> Tensor:
    """Return log(fraction of the training samples / prior) of each class, `(num_classes,)`."""
    if counts is None:
        raise InputError("class_prior: needs the samples per class, which the data do not report; leave it out")
    if class_prior == "data":
        if shares is None:
            raise InputError("class_prior: the data do not report the frequency of each class; set a list of numbers")
        prior = shares
    else:
        prior = [1.0] * num_classes if class_prior == "balanced" else class_prior
    if len(prior) != num_classes or not all(0 < value < math.inf for value in prior):  # refuses NaN as well
        raise InputError(f"class_prior: expected {num_classes} numbers above 0, one per class, got {prior}")
    trained = torch.tensor([max(count, 1) for count in counts], dtype=torch.float)  # as for balanced weights
    wanted = torch.tensor(prior, dtype=torch.float)
    return (trained / trained.sum()).log() - (wanted / wanted.sum()).log()
