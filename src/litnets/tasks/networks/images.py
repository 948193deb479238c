"""Networks for images."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from litnets.errors import InputError
from litnets.nets import CNN, AirNet, LeNet, ResNet, UNet, cnn
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.base import Batch, NetFactory, Task
from litnets.tasks.input_shapes import InputKind, Shape, format_shape, image_channels, image_sizes

_IMAGES: frozenset[InputKind] = frozenset({"image", "image of any size"})


class WithCNN(Task):
    """A convolutional network for images of at least 8x8 pixels, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        widths: Channels of each stage; each stage halves the image.
        blocks_per_stage: Convolution blocks per stage.
        kernel_size: Side of the square kernels, an odd number.
        activation: Activation after each convolution.
        norm: Normalization: `batch`, `group` or `none`.
        pool: Downsampling at the end of each stage: `max`, `avg`, or `stride` (strided convolution).
        dropout: Dropout probability of channels between stages and of features before the last layer.
        residual: Whether to add the input of each block to its output.
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        widths: Sequence[int] = (32, 64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: cnn.Norm = "batch",
        pool: Literal["max", "avg", "stride"] = "max",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> CNN:
            return CNN(
                image_channels(shape, type(self)),
                out_features,
                widths,
                blocks_per_stage,
                kernel_size,
                activation,
                norm,
                pool,
                dropout,
                residual,
                init,
            )

        super().__init__(NetFactory(input_shape, build), **task)


class WithResNet(Task):
    """A residual network (He et al. 2016) for images of about 32x32 pixels, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        depth: Number of layers: 20, 32, 44, 56 or 110 (the CIFAR-10 networks of the paper, 0.27 to 1.7 million
            parameters), or 18 (11 million; the ImageNet network with a stem for small images).
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES

    def __init__(self, input_shape: Sequence[int | None], *, depth: int = 20, init: Init = "he", **task: Any) -> None:
        def build(shape: Shape, out_features: int) -> ResNet:
            return ResNet(image_channels(shape, type(self)), out_features, depth, init)

        super().__init__(NetFactory(input_shape, build), **task)


class WithAirNet(Task):
    """A convolutional network that trains on small images within a few epochs (Jordan 2024), for any task.

    Its first layer whitens patches of the image. It is fitted on the first training batch and saved in the checkpoint.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        widths: Channels of each stage; each stage halves the image.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES
    net: AirNet

    def __init__(
        self, input_shape: Sequence[int | None], *, widths: Sequence[int] = (64, 256, 256), **task: Any
    ) -> None:
        def build(shape: Shape, out_features: int) -> AirNet:
            channels = image_channels(shape, type(self))
            if any(side is not None and side < 2 for side in shape[1:]):
                raise InputError(
                    f"{type(self).__name__} reads images of at least 2x2 pixels, but those of the data are "
                    f"{format_shape(shape)}"
                )
            return AirNet(channels, out_features, widths)

        super().__init__(NetFactory(input_shape, build), **task)
        self._whitened = True

    def on_train_start(self) -> None:
        # By now, the weights of a checkpoint are loaded. Read `fitted` only once, because that waits for the device.
        self._whitened = bool(self.net.whitening.fitted)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self._whitened:
            return
        inputs, _ = batch
        assert not isinstance(inputs, (tuple, list))
        whitening = self.net.whitening
        whitening.fit(inputs)
        # Each rank has fitted the layer on a different batch. Use the result of rank 0.
        whitening.weight.copy_(self.trainer.strategy.broadcast(whitening.weight))
        self._whitened = True


class WithLeNet(Task):
    """LeNet-5 (LeCun et al. 1998) for images of one size, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        activation: Activation of all hidden layers.
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = frozenset({"image"})

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        activation: Activation = "tanh",
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> LeNet:
            return LeNet(image_sizes(shape, type(self)), out_features, activation, init)

        super().__init__(NetFactory(input_shape, build), **task)


class WithUNet(Task):
    """A U-Net (Ronneberger et al. 2015) for images of any size.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        widths: Channels of each stage; each stage after the first halves the image.
        blocks_per_stage: Convolution blocks per stage of the encoder and of the decoder.
        kernel_size: Side of the square kernels, an odd number.
        activation: Activation after each convolution.
        norm: Normalization: `batch`, `group` or `none`.
        dropout: Dropout probability of the channels of the deepest stage.
        residual: Whether to add the input of each block to its output.
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks_per_stage: int = 2,
        kernel_size: int = 3,
        activation: Activation = "relu",
        norm: cnn.Norm = "batch",
        dropout: float = 0.0,
        residual: bool = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> UNet:
            channels = image_channels(shape, type(self))
            return UNet(
                channels,
                out_features,
                widths,
                blocks_per_stage,
                kernel_size,
                activation,
                norm,
                dropout,
                residual,
                init,
            )

        super().__init__(NetFactory(input_shape, build), **task)
