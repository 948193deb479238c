"""Transformer encoders as LightningModules."""

from collections.abc import Sequence
from typing import Any

from litnets.nets import Transformer
from litnets.nets.layers.embedding import embedded
from litnets.nets.layers.initialization import Init
from litnets.nets.transformer import Pooling
from litnets.tasks.classification import Classifier, num_logits
from litnets.tasks.input_shapes import step_size


class TransformerClassifier(Classifier):
    """A Transformer encoder that classifies sequences or texts; an image is read row by row.

    Args:
        input_shape: Shape of one input, (steps, features), (channels, height, width) or (steps,) of tokens; linked from
            the data.
        num_classes: Number of classes; linked from the data.
        vocab_size: Number of tokens where the inputs are tokens; linked from the data.
        embedding_size: Numbers in the learnt vector of a token, where the inputs are tokens.
        hidden_size: Numbers in one step inside the network.
        num_layers: Layers.
        num_heads: Heads of the attention; they share `hidden_size` evenly.
        dropout: Probability that a number is dropped in each layer and before the last one.
        pooling: How the steps become one vector: `mean`, `max` or `first` (a learnt step put before the others).
        init: How the weights start.
        **task: Arguments of `Classifier` and `Task`.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int | None,
        vocab_size: int | None = None,
        embedding_size: int = 64,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        pooling: Pooling = "mean",
        init: Init = "default",
        **task: Any,
    ) -> None:
        net = Transformer(
            embedding_size if vocab_size else step_size(input_shape, type(self).__name__),
            num_logits(num_classes, type(self).__name__, task),
            hidden_size,
            num_layers,
            num_heads,
            dropout,
            pooling,
            init,
        )
        super().__init__(embedded(net, vocab_size, embedding_size, init), num_classes=num_classes, **task)
