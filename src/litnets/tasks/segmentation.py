"""Segmenter: predict the class of each pixel of an image."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from litnets.errors import InputError
from litnets.tasks.base import Batch, Inputs, NetFactory, Task
from litnets.tasks.losses import CrossEntropyDiceLoss, DiceLoss, build_class_weights, build_loss
from litnets.tasks.metrics import reset_metrics

_LOSSES: dict[str, type[nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "dice": DiceLoss,
    "cross_entropy+dice": CrossEntropyDiceLoss,
}


class Segmenter(Task):
    """Assign one class to each pixel of an image (semantic segmentation).

    The network returns one logit per class and pixel. A target is a mask with the index of the class of each pixel.
    Pixels with `ignore_index` count neither in the loss nor in the metrics.

    Metrics: mean intersection over union (`iou`) and mean Dice coefficient (`dice`), averaged over the classes, and
    pixel accuracy (`accuracy`). All of them are computed from the counts over all pixels of a split, not averaged over
    images or batches. A class that is in neither the targets nor the predictions of the split is left out of the mean.
    A test also reports IoU and Dice of each class.

        model = Segmenter(UNet(3, 4), num_classes=4, ignore_index=255, loss="cross_entropy+dice", lr=0.003)

    Args:
        net: The network, `(N, channels, height, width) -> (N, num_classes, height, width)`.
        num_classes: Number of classes; linked from the data.
        ignore_index: Value of the pixels that do not count; linked from the data.
        class_names: Names of the classes, for the results; linked from the data.
        class_counts: Training pixels per class, for balanced weights; linked from the data.
        loss: `cross_entropy`; `dice`, the soft Dice loss of the pixels of a batch, averaged over the classes in the
            batch (after Milletari et al. 2016); `cross_entropy+dice`, their sum; or the dotted path of your own class,
            which is called with the logits `(pixels, num_classes)` and classes `(pixels,)` of the pixels that count.
        loss_args: Arguments of the loss, such as `{dice_weight: 0.5}`. Default: none.
        label_smoothing: Fraction of the target that cross entropy spreads over all classes, in [0, 1).
        class_weights: Weight of each class in the loss, or `balanced`: n / (num_classes * count), computed from the
            pixels of the training split. Default: 1 for each class.
        tta: Test-time augmentation: `mirror` averages the logits of the image and of its mirror image, in tests and
            predictions; `one` reads the image alone.
        **task: Arguments of `Task`: the optimizer and its learning-rate schedule.

    Raises:
        InputError: Data without masks; a loss, class weights or label smoothing that does not fit.
    """

    monitor: ClassVar[str] = "val/iou"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"
    predicts: ClassVar[str] = "masks"

    def __init__(
        self,
        net: nn.Module | NetFactory,
        num_classes: int | None,
        ignore_index: int | None,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        loss: str = "cross_entropy",
        loss_args: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
        tta: Literal["one", "mirror"] = "one",
        **task: Any,
    ) -> None:
        if num_classes is None or ignore_index is None:
            raise self.wrong_targets(net)
        super().__init__(net(num_classes) if isinstance(net, NetFactory) else net, **task)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.class_names = class_names or [str(i) for i in range(num_classes)]
        self.tta = tta
        weights = build_class_weights(class_weights, class_counts, num_classes)
        self.configure_loss(loss, loss_args or {}, label_smoothing, weights)
        self.configure_metrics()

    def configure_loss(
        self, name: str, loss_args: dict[str, Any], label_smoothing: float, class_weights: Tensor | None
    ) -> None:
        """Set `self.criterion`.

        Raises:
            InputError: The loss does not fit or does not take an argument, or `label_smoothing` is outside [0, 1).
        """
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing: expected a fraction in [0, 1), got {label_smoothing}")
        arguments: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
        if class_weights is not None:
            arguments["weight"] = class_weights
        size = self.num_classes + 1  # pixels of the trial batch
        targets = torch.arange(size) % self.num_classes
        self.criterion = build_loss(name, _LOSSES, arguments | loss_args, (size, self.num_classes), targets)

    def configure_metrics(self) -> None:
        """Set the metrics of each split, and the per-class metrics of a test."""
        common: dict[str, Any] = {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "validate_args": False,
        }
        iou = MulticlassJaccardIndex(average="macro", **common)
        # The Dice coefficient is another name for the F1 score.
        dice = MulticlassF1Score(average="macro", **common)
        accuracy = MulticlassAccuracy(average="micro", **common)
        self.set_metrics(
            train=MetricCollection({"iou": iou}),
            evaluation=MetricCollection({"iou": iou, "dice": dice, "accuracy": accuracy}),
        )
        # NaN for a class that is in neither targets nor predictions.
        each: dict[str, Any] = {**common, "average": "none", "zero_division": math.nan}
        self.per_class = MetricCollection(
            {"iou": MulticlassJaccardIndex(**each), "dice": MulticlassF1Score(**each)}, prefix="test/"
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        counted = targets != self.ignore_index  # (N, height, width)
        logits, classes = outputs.movedim(1, -1)[counted], targets[counted]  # (pixels, classes), (pixels,)
        if not self._total_weight(classes):
            return logits.sum() * 0  # torch divides by the weight, and 0 / 0 is NaN
        loss: Tensor = self.criterion(logits, classes)
        return loss

    def loss_weight(self, targets: Tensor) -> Tensor | int:
        return self._total_weight(targets[targets != self.ignore_index])

    def _total_weight(self, classes: Tensor) -> Tensor | int:
        weights = getattr(self.criterion, "weight", None)
        return len(classes) if weights is None else weights[classes].sum()

    def metric_inputs(self, outputs: Tensor) -> Tensor:
        """Return the predicted class of each pixel, `(N, height, width)`."""
        return outputs.argmax(1)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        predictions = self._evaluation_step(batch, self.test_loss, self.test_metrics, self.test_forward)
        self.per_class.update(predictions, batch[1])

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, values in self.per_class.compute().items():
            self.log_dict({f"{name}/{c}": value for c, value in zip(self.class_names, values, strict=True)})
        reset_metrics(self.per_class)

    def sample_results(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the pixels of each class in each tile, and the loss, as numbers to add up over the tiles of an image.

        The pixels that count are those in the `target`, in the `prediction`, and in `both`, `(N, num_classes)`.
        """
        counted = targets != self.ignore_index  # (N, height, width)
        predictions = self.metric_inputs(outputs)
        first = torch.arange(len(targets), device=targets.device).view(-1, 1, 1) * self.num_classes
        shape = len(targets), self.num_classes

        def count(classes: Tensor, where: Tensor) -> Tensor:
            return (first + classes)[where].bincount(minlength=shape[0] * shape[1]).view(shape)

        tiles = list(zip(outputs.split(1), targets.split(1), strict=True))
        weights = torch.tensor([float(self.loss_weight(target)) for _, target in tiles], dtype=torch.float64)
        return {
            "target": count(targets, counted),
            "prediction": count(predictions, counted),
            "both": count(targets, counted & (predictions == targets)),
            "loss": torch.stack([self.loss(*tile) for tile in tiles]).cpu() * weights,
            "loss_weight": weights,
        }

    def finish_results(self, results: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the scores of each image; NaN for a class that is in neither the target nor the prediction."""
        target, prediction, both = (results[name].astype(float) for name in ("target", "prediction", "both"))
        pixels = target.sum(1)
        with np.errstate(invalid="ignore"):  # 0 / 0
            iou = both / (target + prediction - both)
            return {
                "loss": results["loss"] / results["loss_weight"],
                "loss_weight": results["loss_weight"],
                "pixels": pixels.astype(int),
                "accuracy": both.sum(1) / pixels,
                "mean_iou": np.nansum(iou, 1) / (~np.isnan(iou)).sum(1),
                "iou": iou,
                "target_fraction": target / pixels[:, None],
                "prediction_fraction": prediction / pixels[:, None],
            }

    def describe_results(self) -> dict[str, Any]:
        return {"class_names": self.class_names}

    def predict_step(self, batch: Batch | Inputs, batch_idx: int) -> dict[str, Tensor]:
        """Return `prediction` `(N, height, width)`, and `probability` `(N, num_classes, height, width)`."""
        probabilities = self.test_forward(self.inputs_of(batch)).softmax(1)
        return {"prediction": probabilities.argmax(1), "probability": probabilities}

    def test_forward(self, inputs: Inputs) -> Tensor:
        outputs: Tensor = self(inputs)
        if self.tta == "one":
            return outputs
        assert isinstance(inputs, Tensor)
        mirrored: Tensor = self(inputs.flip(-1))
        return (outputs + mirrored.flip(-1)) / 2
