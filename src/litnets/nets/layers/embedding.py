"""Embedded: tokens before a network for sequences."""

from torch import Tensor, nn

from litnets.nets.layers.initialization import Init, initialize


class Embedded(nn.Module):
    """A learnt vector for each token, then a network that reads a sequence of them.

    Takes whole numbers `(N, steps)` and, as the network does, `lengths`; gives what the network gives. Token 0 is the
    padding: its vector is zero and stays so.

    Args:
        net: A network that takes `(N, steps, embedding_size)` and `lengths`.
        vocab_size: Number of tokens, the padding among them.
        embedding_size: Numbers in the vector of a token.
        init: How the vectors start, see `litnets.nets.layers.initialization.initialize`; the network is left as it is.
    """

    def __init__(self, net: nn.Module, vocab_size: int, embedding_size: int, init: Init = "default") -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size, padding_idx=0)
        initialize(self.embedding, init)
        nn.init.zeros_(self.embedding.weight.data[0])
        self.net = net

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens `(N, steps)`, lengths `(N,)` or None for full ones -> the network's answer."""
        out: Tensor = self.net(self.embedding(tokens), lengths)
        return out


def embedded(net: nn.Module, vocab_size: int | None, embedding_size: int, init: Init = "default") -> nn.Module:
    """`net` with an `Embedded` before it where its inputs are tokens, which is where there is a `vocab_size`."""
    return net if vocab_size is None else Embedded(net, vocab_size, embedding_size, init)
