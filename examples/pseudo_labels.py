"""Semi-supervised learning with pseudo-labels (Lee 2013): few labels, and many images without one.

A network that is trained on the labeled images predicts the others. Predictions above a confidence are taken as labels
for the next round. The last line compares: the same network with the few labels alone, and with all.

    python examples/pseudo_labels.py --labels 5 --confidence 0.95

Test accuracy, mean of 3 seeds: 0.935 with 5 labels of each class, 0.984 with pseudo-labels, 0.992 with all labels; 15 s
on one CPU core.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from litnets import CNN, Digits


def read_digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Return the normalized images and the classes of each split of Digits."""
    data = Digits()
    data.ensure_setup()
    prepare = data.preparation()
    splits = {part: dataset[:] for part, dataset in data.splits.items()}
    return {part: (prepare(images), classes.long()) for part, (images, classes) in splits.items()}


def train(inputs: Tensor, targets: Tensor, steps: int) -> CNN:
    """Return a network that is trained on these samples for `steps` random batches of 64."""
    net = CNN(1, 10, widths=(16, 32), dropout=0.1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.003)
    for _ in range(steps):
        batch = torch.randint(len(targets), (64,))
        optimizer.zero_grad()
        cross_entropy(net(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    return net.eval()


@torch.no_grad()
def probabilities(net: CNN, inputs: Tensor) -> Tensor:
    return net(inputs).softmax(1)


def pseudo_label(net: CNN, inputs: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    """Return the indices of the samples that the network is sure of, and the classes that it predicts for them."""
    highest, classes = probabilities(net, inputs).max(1)
    sure = (highest >= confidence).nonzero().squeeze(1)
    return sure, classes[sure]


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=5, help="labeled images of each class")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300, help="training steps of each round")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    torch.manual_seed(options.seed)
    splits = read_digits()
    inputs, targets = splits["train"]
    labeled = torch.cat([(targets == label).nonzero().squeeze(1)[: options.labels] for label in range(10)])
    is_unlabeled = torch.ones(len(targets), dtype=torch.bool)
    is_unlabeled[labeled] = False
    unlabeled = is_unlabeled.nonzero().squeeze(1)

    def test(net: CNN) -> float:
        images, classes = splits["test"]
        return (probabilities(net, images).argmax(1) == classes).float().mean().item()

    few = net = train(inputs[labeled], targets[labeled], options.steps)
    for number in range(1, options.rounds + 1):
        sure, classes = pseudo_label(net, inputs[unlabeled], options.confidence)
        right = (classes == targets[unlabeled[sure]]).float().mean().item()  # known here, not in earnest
        print(f"round {number}: {len(sure)} of {len(unlabeled)} pseudo-labels, {right:.1%} of them right")
        together = torch.cat([labeled, unlabeled[sure]])
        net = train(inputs[together], torch.cat([targets[labeled], classes]), options.steps)
    everything = train(inputs, targets, options.steps)
    scores = {"few labels": test(few), "pseudo-labels": test(net), "all labels": test(everything)}
    print("test/accuracy: " + ", ".join(f"{score:.4f} with {name}" for name, score in scores.items()))
    return scores


if __name__ == "__main__":
    main()
