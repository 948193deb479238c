import copy

import numpy as np
import pytest
import torch

from examples import federated
from litnets import MLP


def samples(number: int = 60) -> federated.Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(number, 4, generator=generator)
    return inputs, (inputs.sum(1) > 0).long()


def start() -> MLP:
    torch.manual_seed(0)
    return MLP(4, 2, (8,))


def test_one_client_is_central_training_bit_for_bit():
    central, single = start(), start()
    federated.train(central, samples(), range(6), lr=0.1)
    federated.federate(single, [samples()], rounds=3, local_epochs=2, lr=0.1)
    for name, value in central.state_dict().items():
        assert torch.equal(value, single.state_dict()[name]), name


def test_the_average_is_weighted_by_samples():
    states = [{"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 0.0])}]
    assert federated.average(states, [3, 1])["w"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("alpha", [0.05, 1, 1000])
def test_each_sample_belongs_to_one_client(alpha):
    targets = torch.arange(1000) % 10
    shares = federated.dirichlet_split(targets, 5, alpha, np.random.default_rng(0))
    assert torch.cat(shares).sort().values.equal(torch.arange(1000))
    largest = max((targets[share].bincount(minlength=10) / max(1, len(share))).max().item() for share in shares)
    assert (largest < 0.15) == (alpha == 1000)


def test_clients_without_samples_and_rounds_without_clients_change_nothing():
    net = start()
    before = copy.deepcopy(net.state_dict())
    inputs, targets = samples()
    federated.federate(net, [(inputs[:0], targets[:0])], rounds=2, local_epochs=1, lr=0.1)
    federated.federate(net, [samples()], rounds=2, local_epochs=1, lr=0.1, dropout=1.0)
    for name, value in before.items():
        assert torch.equal(value, net.state_dict()[name])


def test_the_example_learns(capsys):
    assert federated.main(["--clients", "3", "--rounds", "5", "--dropout", "0"]) > 0.7
    assert "largest client alone: test/accuracy" in capsys.readouterr().out
