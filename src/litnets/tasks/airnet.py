"""AirNet as a LightningModule."""

from collections.abc import Sequence
from typing import Any

from litnets.errors import InputError
from litnets.nets import AirNet
from litnets.tasks.base import Batch
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import image_channels


class AirNetClassifier(Classifier):
    """A convolutional network that learns to classify small images within a few epochs (Jordan 2024): its first layer
    whitens patches, as the first batch of the training shows them, and is kept in the checkpoint.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        num_classes: Number of classes; linked from the data.
        widths: Channels of each stage; each stage halves the image.
        **task: Arguments of `Classifier` and `Task`.
    """

    net: AirNet

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        widths: Sequence[int] = (64, 256, 256),
        **task: Any,
    ) -> None:
        name = type(self).__name__
        channels = image_channels(input_shape, name)
        if any(side is not None and side < 2 for side in input_shape[1:]):
            raise InputError(f"{name} reads images from 2x2 pixels up; these data have {tuple(input_shape)}")
        super().__init__(AirNet(channels, num_logits(num_classes, name, task), widths), num_classes=num_classes, **task)
        self._whitened = True

    def on_train_start(self) -> None:
        # By now a checkpoint's weights are there. Asked once: each time would wait for the device.
        self._whitened = bool(self.net.whitening.known)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self._whitened:
            return
        inputs, _ = batch
        assert not isinstance(inputs, (tuple, list))
        whitening = self.net.whitening
        whitening.fit(inputs)
        # Of several processes each has a batch of its own.
        whitening.weight.copy_(self.trainer.strategy.broadcast(whitening.weight))
        self._whitened = True
