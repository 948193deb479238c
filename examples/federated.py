"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629), simulated in one process.

Each client has its own handwritten digits, of few classes if `alpha` is small, and never shares them. In each round the
clients train the server's network on their data; the server averages their weights, weighted by samples.

    python examples/federated.py --clients 10 --alpha 0.3 --dropout 0.2

Test accuracy, mean of 3 seeds: 0.939 federated, 0.973 with all data in one place, 0.550 for the largest client alone;
7 s on one CPU core.
"""

import argparse
import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from litnets import MLP, Digits

Samples = tuple[Tensor, Tensor]


def read_digits() -> dict[str, Samples]:
    """Return the normalized images and the classes of each split of Digits."""
    data = Digits()
    data.ensure_setup()
    prepare = data.preparation()
    splits = {part: dataset[:] for part, dataset in data.splits.items()}
    return {part: (prepare(images), classes.long()) for part, (images, classes) in splits.items()}


def dirichlet_split(targets: Tensor, clients: int, alpha: float, rng: np.random.Generator) -> list[Tensor]:
    """Return the indices of each client's samples.

    The samples of each class are distributed in proportions from a Dirichlet distribution. A small `alpha` gives each
    client few classes, a large one gives all the same mixture. A client may have no samples.
    """
    shares: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in targets.unique():
        indices = rng.permutation((targets == label).nonzero().squeeze(1).numpy())
        ends = (rng.dirichlet([alpha] * clients).cumsum()[:-1] * len(indices)).round().astype(int)
        for share, part in zip(shares, np.split(indices, ends), strict=True):
            share.append(part)
    return [torch.from_numpy(np.sort(np.concatenate(share))) for share in shares]


def train(net: nn.Module, samples: Samples, epochs: Sequence[int], lr: float, batch_size: int = 32) -> None:
    """Train in place with plain SGD. The order of the samples depends on the number of the epoch alone."""
    optimizer = torch.optim.SGD(net.parameters(), lr)
    inputs, targets = samples
    for epoch in epochs:
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            cross_entropy(net(inputs[batch]), targets[batch]).backward()
            optimizer.step()


def average(states: Sequence[dict[str, Tensor]], weights: Sequence[int]) -> dict[str, Tensor]:
    """Return the weighted mean of the weights of several networks."""
    total = sum(weights)
    return {
        name: sum(state[name] * (weight / total) for state, weight in zip(states, weights, strict=True))
        for name in states[0]
    }


def federate(
    net: nn.Module, clients: Sequence[Samples], rounds: int, local_epochs: int, lr: float, dropout: float = 0
) -> None:
    """Train `net` in place. In each round, each client drops out with probability `dropout`."""
    rng = np.random.default_rng(0)
    for number in range(rounds):
        states, weights = [], []
        for samples in clients:
            if not len(samples[1]) or rng.random() < dropout:
                continue
            local = copy.deepcopy(net)
            train(local, samples, range(number * local_epochs, (number + 1) * local_epochs), lr)
            states.append(local.state_dict())
            weights.append(len(samples[1]))
        if states:  # otherwise all clients have dropped out
            net.load_state_dict(average(states, weights))


def accuracy(net: nn.Module, samples: Samples) -> float:
    with torch.no_grad():
        return (net(samples[0]).argmax(1) == samples[1]).float().mean().item()


def main(args: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.3, help="small: few classes per client")
    parser.add_argument("--dropout", type=float, default=0.2, help="share of clients that miss a round")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--local_epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    splits = read_digits()
    inputs, targets = splits["train"]
    rng = np.random.default_rng(options.seed)
    shares = dirichlet_split(targets, options.clients, options.alpha, rng)
    print("samples (classes) per client:", ", ".join(f"{len(s)} ({len(targets[s].unique())})" for s in shares))
    torch.manual_seed(options.seed)
    start = MLP(64, 10, (64,))
    central, federated = copy.deepcopy(start), copy.deepcopy(start)
    train(central, splits["train"], range(options.rounds * options.local_epochs), options.lr)
    clients = [(inputs[share], targets[share]) for share in shares]
    federate(federated, clients, options.rounds, options.local_epochs, options.lr, options.dropout)
    alone = copy.deepcopy(start)
    train(alone, max(clients, key=lambda c: len(c[1])), range(options.rounds * options.local_epochs), options.lr)
    for name, net in (("central", central), ("federated", federated), ("largest client alone", alone)):
        print(f"{name}: test/accuracy {accuracy(net, splits['test']):.4f}")
    return accuracy(federated, splits["test"])


if __name__ == "__main__":
    main()
