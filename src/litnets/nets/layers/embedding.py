"""Embedded: an embedding in front of a network for sequences."""

from torch import Tensor, nn

from litnets.nets.layers.initialization import Init, initialize


class Embedded(nn.Module):
    """An embedding followed by a network for sequences.

    Takes tokens `(N, steps)` and, like the network, lengths; returns the output of the network. Token 0 is padding: its
    embedding is zero and is not trained.

        net = Embedded(RNN(64, 18), vocab_size=57, embedding_size=64)
        net(torch.randint(57, (8, 20)), lengths=torch.full((8,), 12))  # (8, 18)

    Args:
        net: A network that takes `(N, steps, embedding_size)` and lengths.
        vocab_size: Number of tokens, including padding.
        embedding_size: Size of the embedding of a token.
        init: Initialization of the embedding, see `litnets.nets.layers.initialization.initialize`. It does not change
            the network.
        scale: Factor of the initial embedding. PyTorch samples it from N(0, 1), which AdamW changes slowly.
    """

    def __init__(
        self, net: nn.Module, vocab_size: int, embedding_size: int, init: Init = "default", scale: float = 1.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size, padding_idx=0)
        initialize(self.embedding, init)
        self.embedding.weight.data.mul_(scale)
        nn.init.zeros_(self.embedding.weight.data[0])
        self.net = net

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the output of the network for tokens `(N, steps)`; lengths `(N,)`, or None for no padding."""
        out: Tensor = self.net(self.embedding(tokens), lengths)
        return out
