import pytest
import torch
from torch import nn

from litnets.nets import RNN, CNN1d, Embedded, Transformer

NETS = {
    "rnn": lambda: RNN(5, 42, 6, bidirectional=True, pooling="mean"),
    "cnn1d": lambda: CNN1d(5, 42, [6, 7]),
    "transformer": lambda: Transformer(5, 42, 8, 1, 2),
}
LENGTHS = torch.tensor([5, 1, 7])
TOKENS = torch.randint(1, 11, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETS)
def test_padding_does_not_affect_the_output(name):
    net = Embedded(NETS[name](), 11, 5).eval()
    alone = torch.cat([net(row[None, :length]) for row, length in zip(TOKENS, LENGTHS, strict=True)])
    assert alone.shape == (3, 42)
    torch.testing.assert_close(net(TOKENS, LENGTHS), alone)


@pytest.mark.parametrize("name", NETS)
def test_every_token_except_padding_gets_a_gradient(name):
    net = Embedded(NETS[name](), 11, 5)
    tokens = torch.arange(11).expand(3, 11)
    nn.functional.cross_entropy(net(tokens), torch.tensor([0, 7, 41])).backward()
    has_gradient = net.embedding.weight.grad.abs().sum(1) > 0
    assert has_gradient.tolist() == [False] + [True] * 10


@pytest.mark.parametrize("init", ["default", "xavier", "normal"])
def test_padding_is_zero_with_every_initialization(init):
    weight = Embedded(nn.Identity(), 11, 5, init).embedding.weight
    assert weight[0].count_nonzero() == 0
    assert (weight[1:] != 0).all()
    assert (weight.std() < 0.02) == (init == "normal")


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_matches_the_network_on_embedded_tokens(kind):
    net = Embedded(CNN1d(5, 42), 11, 5)
    vectors = net.embedding.weight[TOKENS]
    torch.testing.assert_close(net(TOKENS.to(kind), LENGTHS), net.net(vectors, LENGTHS))
