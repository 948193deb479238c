"""Networks for sequences, and the embedding of tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from litnets.nets import RNN, CNN1d, Embedded, Transformer, cnn1d, rnn, transformer
from litnets.nets.layers.activation import Activation
from litnets.nets.layers.initialization import Init
from litnets.tasks.base import NetFactory, Task
from litnets.tasks.input_shapes import InputKind, Shape, check_rows, step_size

_SEQUENCES: frozenset[InputKind] = frozenset({"sequence", "padded sequence", "image"})


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
