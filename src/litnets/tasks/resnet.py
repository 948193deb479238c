"""Residual networks as LightningModules."""

from collections.abc import Sequence
from typing import Any

from litnets.nets import ResNet
from litnets.nets.layers.initialization import Init
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import image_channels


class ResNetClassifier(Classifier):
    """A residual network (He et al. 2016) that classifies images of about 32x32 pixels.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        num_classes: Number of classes; linked from the data.
        depth: 20, 32, 44, 56 or 110 (the paper's networks for CIFAR-10, 0.27 to 1.7 million parameters), or 18 (11
            million, the paper's for ImageNet with a first layer for small images).
        init: How the weights start.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        depth: int = 20,
        init: Init = "he",
        **task: Any,
    ) -> None:
        channels = image_channels(input_shape, type(self).__name__)
        net = ResNet(channels, num_logits(num_classes, type(self).__name__, task), depth, init)
        super().__init__(net, num_classes=num_classes, **task)
