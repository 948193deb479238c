"""Each network with each task: `MLPClassifier`, `RNNForecaster` and so on.

A class `WithX` declares and documents the arguments of network X; everything else is inherited from the task. A pair is
then two lines, and so is your own network once it has its `WithX`:

    class WithMyNet(Task):
        def __init__(self, input_shape: Sequence[int | None], *, width: int = 64, **task: Any) -> None:
            def build(shape: Shape, out_features: int) -> MyNet:
                return MyNet(flat_size(shape, type(self)), out_features, width)

            super().__init__(NetFactory(input_shape, build), **task)

    class MyNetClassifier(WithMyNet, Classifier):
        \"""Classify with my network.\"""
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from litnets.errors import InputError
from litnets.nets import (
    CNN,
    MLP,
    RNN,
    AirNet,
    CNN1d,
    Embedded,
    LeNet,
    ResNet,
    TimmNet,
    TorchvisionNet,
    Transformer,
    UNet,
    cnn,
    cnn1d,
    rnn,
    transformer,
)
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.base import Batch, NetFactory, Task
from litnets.tasks.classification import Classifier
from litnets.tasks.forecasting import PatchForecaster, WindowForecaster
from litnets.tasks.input_shapes import (
    InputKind,
    Shape,
    check_rows,
    flat_size,
    format_shape,
    image_channels,
    image_sizes,
    step_size,
)
from litnets.tasks.regression import Regressor
from litnets.tasks.segmentation import Segmenter

_FLAT: frozenset[InputKind] = frozenset({"row", "sequence", "image"})
_IMAGES: frozenset[InputKind] = frozenset({"image", "image of any size"})
_SEQUENCES: frozenset[InputKind] = frozenset({"sequence", "padded sequence", "image"})


class WithLinear(Task):
    """A linear layer, for any task.

    Args:
        input_shape: Shape of one input; linked from the data.
        init: Weight initialization; with `zeros`, forecasts are constant before training.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _FLAT

    def __init__(self, input_shape: Sequence[int | None], *, init: Init = "default", **task: Any) -> None:
        def build(shape: Shape, out_features: int) -> MLP:
            return MLP(flat_size(shape, type(self)), out_features, hidden_layer_sizes=(), init=init)

        super().__init__(NetFactory(input_shape, build), **task)


class WithMLP(Task):
    """A multi-layer perceptron, for any task. It reads inputs of any shape as one row of numbers.

    Args:
        input_shape: Shape of one input; linked from the data.
        hidden_layer_sizes: Width of each hidden layer; an empty list makes a linear model.
        activation: Activation of all hidden layers, or a list with one per layer.
        dropout: Dropout probability after each hidden layer, or a list with one per layer.
        batch_norm: Whether to apply batch normalization before the activation, or a list with one per layer.
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _FLAT

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: Activation | list[Activation] = "relu",
        dropout: float | list[float] = 0.0,
        batch_norm: bool | list[bool] = False,
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> MLP:
            in_features = flat_size(shape, type(self))
            return MLP(in_features, out_features, hidden_layer_sizes, activation, dropout, batch_norm, init)

        super().__init__(NetFactory(input_shape, build), **task)


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
        # Each rank has fitted its own batch.
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


class WithTorchvision(Task):
    """Any network of torchvision for images, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the network: `alexnet`, `vgg16`, `resnet50`, `efficientnet_b0`, ... (all of
            `torchvision.models.list_models()` that classify).
        image_size: Side of the squares that images are resized to; by default only small images are enlarged, to a
            shorter side of 64 pixels or what the network needs.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        backbone: str = "resnet18",
        image_size: int | None = None,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> TorchvisionNet:
            return TorchvisionNet(image_channels(shape, type(self)), out_features, backbone, image_size)

        super().__init__(NetFactory(input_shape, build), **task)


class WithTimm(Task):
    """Any network of timm (PyTorch Image Models; the extra `timm`) for images, for any task.

    Args:
        input_shape: Shape of one input, (channels, height, width); linked from the data.
        backbone: Name of the network, such as `mobilenetv4_conv_small` (all of `timm.list_models()`).
        image_size: Side of the squares that images are resized to; by default only small images are enlarged, to a
            shorter side of 64 pixels or what the network needs.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _IMAGES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        backbone: str = "mobilenetv4_conv_small",
        image_size: int | None = None,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> TimmNet:
            return TimmNet(image_channels(shape, type(self)), out_features, backbone, image_size)

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
        dropout: Dropout probability of the channels of the smallest features.
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


class WithRNN(Task):
    """A recurrent network for sequences, for any task. It reads an image as a sequence of rows.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width), or (steps,) for tokens; linked
            from the data.
        hidden_size: Units per layer and direction.
        num_layers: Number of recurrent layers.
        cell: `lstm`, `gru` or `rnn`.
        bidirectional: Whether to read the sequence in both directions.
        dropout: Dropout probability between layers and before the last layer.
        pooling: How the steps are reduced to one vector: `last` (the last valid step), `mean`, `max` or `attention`.
        init: Weight initialization.
        rows_per_step: Image rows per step, a divisor of the height; fewer steps take less time.
        conv_widths: Kernel sizes of convolutions that run beside the recurrent layers and detect short patterns
            (Kim 2014); none by default.
        conv_channels: Channels of each of these convolutions.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _SEQUENCES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: rnn.Cell = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: rnn.Pooling = "last",
        init: Init = "default",
        rows_per_step: int = 1,
        conv_widths: Sequence[int] = (),
        conv_channels: int = 128,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> RNN:
            check_rows(rows_per_step, input_shape, type(self))
            return RNN(
                step_size(shape, type(self)) * rows_per_step,
                out_features,
                hidden_size,
                num_layers,
                cell,
                bidirectional,
                dropout,
                pooling,
                init,
                rows_per_step,
                conv_widths,
                conv_channels,
            )

        super().__init__(NetFactory(input_shape, build, init), **task)


class WithCNN1d(Task):
    """A 1D convolutional network for sequences, for any task. It reads an image as a sequence of rows.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width), or (steps,) for tokens; linked
            from the data.
        widths: Channels of each stage; the sequence is halved between stages.
        blocks_per_stage: Convolution blocks per stage.
        kernel_size: Steps per kernel, an odd number.
        activation: Activation after each convolution.
        norm: Normalization: `layer`, `batch` or `none`.
        dropout: Dropout probability of channels between stages and of features before the last layer.
        residual: Whether to add the input of each block to its output.
        pooling: How the steps are reduced to one vector: `mean`, `max` or `last`.
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _SEQUENCES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        widths: Sequence[int] = (64, 128),
        blocks_per_stage: int = 2,
        kernel_size: int = 5,
        activation: Activation = "relu",
        norm: cnn1d.Norm = "layer",
        dropout: float = 0.0,
        residual: bool = False,
        pooling: cnn1d.Pooling = "max",
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> CNN1d:
            return CNN1d(
                step_size(shape, type(self)),
                out_features,
                widths,
                blocks_per_stage,
                kernel_size,
                activation,
                norm,
                dropout,
                residual,
                pooling,
                init,
            )

        super().__init__(NetFactory(input_shape, build, init), **task)


class WithTransformer(Task):
    """A Transformer encoder for sequences, for any task. It reads an image as a sequence of rows.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width), or (steps,) for tokens; linked
            from the data.
        hidden_size: Model dimension.
        num_layers: Number of encoder layers.
        num_heads: Attention heads; a divisor of `hidden_size`.
        dropout: Dropout probability in each layer and before the last layer.
        pooling: How the steps are reduced to one vector: `mean`, `max` or `first` (a learned class token).
        init: Weight initialization.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = _SEQUENCES

    def __init__(
        self,
        input_shape: Sequence[int | None],
        *,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        pooling: transformer.Pooling = "mean",
        init: Init = "default",
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> Transformer:
            in_features = step_size(shape, type(self))
            return Transformer(in_features, out_features, hidden_size, num_layers, num_heads, dropout, pooling, init)

        super().__init__(NetFactory(input_shape, build, init), **task)


class WithEmbedding(Task):
    """An embedding in front of a network for sequences, where the inputs are tokens.

    Args:
        net: The network.
        vocab_size: Number of tokens, if the inputs are tokens; linked from the data.
        embedding_size: Size of a token's embedding, if the inputs are tokens.
        embedding_scale: Factor of the initial embeddings; PyTorch's have a standard deviation of 1.
        **task: Arguments of the task.
    """

    reads: ClassVar[frozenset[InputKind]] = frozenset({"tokens"})

    def __init__(
        self,
        net: NetFactory,
        *,
        vocab_size: int | None = None,
        embedding_size: int = 64,
        embedding_scale: float = 1.0,
        **task: Any,
    ) -> None:
        def build(shape: Shape, out_features: int) -> Embedded:
            assert vocab_size is not None
            sequence_net = net.build((*shape, embedding_size), out_features)
            return Embedded(sequence_net, vocab_size, embedding_size, net.init, embedding_scale)

        super().__init__(net if vocab_size is None else replace(net, build=build), **task)


class MLPClassifier(WithMLP, Classifier):
    """Classify with a multi-layer perceptron. It reads inputs of any shape as one row of numbers."""


class MLPRegressor(WithMLP, Regressor):
    """Predict numbers with a multi-layer perceptron. It reads inputs of any shape as one row of numbers."""


class MLPForecaster(WithMLP, WindowForecaster):
    """Forecast a series with a multi-layer perceptron."""


class LinearForecaster(WithLinear, WindowForecaster):
    """Forecast a series with a linear map from the look-back to the horizon: the baseline to beat.

    With `window_norm: last` it is NLinear, with `none` it is Linear of Zeng et al. 2023."""


class CNNClassifier(WithCNN, Classifier):
    """Classify images of at least 8x8 pixels with a convolutional network."""


class CNNRegressor(WithCNN, Regressor):
    """Predict numbers from images of at least 8x8 pixels with a convolutional network."""


class CNNForecaster(WithCNN1d, PatchForecaster):
    """Forecast a series with a 1D convolutional network.

    Args:
        input_shape: Shape of one input, (look_back, channels); linked from the data.
        pooling: How the steps are reduced to one vector: `mean`, `max` or `last`.
        **rest: Arguments of the network and the task.
    """

    def __init__(self, input_shape: Sequence[int | None], *, pooling: cnn1d.Pooling = "last", **rest: Any) -> None:
        super().__init__(input_shape, pooling=pooling, **rest)


class ResNetClassifier(WithResNet, Classifier):
    """Classify images of about 32x32 pixels with a residual network (He et al. 2016)."""


class ResNetRegressor(WithResNet, Regressor):
    """Predict numbers from images of about 32x32 pixels with a residual network (He et al. 2016)."""


class AirNetClassifier(WithAirNet, Classifier):
    """Classify small images within a few epochs of training (Jordan 2024)."""


class LeNetClassifier(WithLeNet, Classifier):
    """Classify images of one size with LeNet-5 (LeCun et al. 1998)."""


class LeNetRegressor(WithLeNet, Regressor):
    """Predict numbers from images of one size with LeNet-5 (LeCun et al. 1998)."""


class TorchvisionClassifier(WithTorchvision, Classifier):
    """Classify images with any network of torchvision, such as AlexNet, VGG, ResNet or EfficientNet."""


class TorchvisionRegressor(WithTorchvision, Regressor):
    """Predict numbers from images with any network of torchvision."""


class TimmClassifier(WithTimm, Classifier):
    """Classify images with any network of timm."""


class TimmRegressor(WithTimm, Regressor):
    """Predict numbers from images with any network of timm."""


class UNetSegmenter(WithUNet, Segmenter):
    """Assign each pixel of an image a class with a U-Net (Ronneberger et al. 2015)."""


class RNNClassifier(WithRNN, WithEmbedding, Classifier):
    """Classify sequences or texts with a recurrent network. It reads an image as a sequence of rows."""


class RNNRegressor(WithRNN, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a recurrent network. It reads an image as a sequence of rows."""


class RNNForecaster(WithRNN, PatchForecaster):
    """Forecast a series with a recurrent network, which predicts the entire horizon from its pooled states."""


class CNN1dClassifier(WithCNN1d, WithEmbedding, Classifier):
    """Classify sequences or texts with a 1D convolutional network. It reads an image as a sequence of rows."""


class CNN1dRegressor(WithCNN1d, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a 1D convolutional network."""


class TransformerClassifier(WithTransformer, WithEmbedding, Classifier):
    """Classify sequences or texts with a Transformer encoder. It reads an image as a sequence of rows."""


class TransformerRegressor(WithTransformer, WithEmbedding, Regressor):
    """Predict numbers from sequences or texts with a Transformer encoder."""


class TransformerForecaster(WithTransformer, PatchForecaster):
    """Forecast a series with a Transformer encoder (with patches: Nie et al. 2023)."""
