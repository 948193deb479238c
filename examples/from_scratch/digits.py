"""Train an MLP, a CNN or an RNN of `nn.py` on 1,797 handwritten digits of 8x8 pixels.

python examples/from_scratch/digits.py mlp|cnn|rnn|vanishing
"""

import sys

import nn
import numpy as np
from sklearn.datasets import load_digits

SIZES = {"train": 1197, "val": 300, "test": 300}


def splits(rng):
    """Return training, validation and test split, each as images (N, 1, 8, 8) in [0, 1] and classes."""
    images, targets = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, targets = images[order].reshape(-1, 1, 8, 8) / 16, targets[order]
    ends = np.cumsum([*SIZES.values()])[:-1]
    return dict(zip(SIZES, zip(np.split(images, ends), np.split(targets, ends), strict=True), strict=True))


def mlp(rng):
    hidden = [nn.Linear(rng, 64, 64), nn.BatchNorm(64), nn.ReLU(), nn.Dropout(rng, 0.2)]
    return nn.Network(nn.Flatten(), *hidden, nn.Linear(rng, 64, 10, "xavier"))


def cnn(rng):
    stages = [nn.Conv2d(rng, 1, 16), nn.ReLU(), nn.MaxPool(), nn.Conv2d(rng, 16, 32), nn.ReLU()]
    return nn.Network(*stages, nn.GlobalAveragePool(), nn.Linear(rng, 32, 10, "xavier"))


def rnn(rng):
    """Read an image as a sequence of eight rows of eight pixels."""
    return nn.Network(Rows(), nn.LSTM(rng, 8, 32), nn.Linear(rng, 32, 10, "xavier"))


class Rows(nn.Flatten):
    """(N, 1, H, W) -> (N, H steps, W features)."""

    def forward(self, x, training):
        self.shape = x.shape
        return x[:, 0]


def gradient_norms(activation, init, depth=10):
    """Return the norm of the gradient of each hidden layer, first to last, in a new MLP of `depth` hidden layers."""
    rng = np.random.default_rng(0)
    images, targets = splits(rng)["train"]
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(rng, 64, 64, init), activation())]
    network = nn.Network(nn.Flatten(), *hidden, nn.Linear(rng, 64, 10, "xavier"))
    network.backward(nn.cross_entropy(network.forward(images, training=True), targets)[1])
    return [np.linalg.norm(layer.grads["weight"]) for layer in hidden[::2]]


def main(name):
    if name == "vanishing":
        for activation, init in ((nn.Sigmoid, "xavier"), (nn.Tanh, "xavier"), (nn.ReLU, "he"), (nn.ReLU, "zeros")):
            norms = gradient_norms(activation, init)
            print(f"{activation.__name__:8} {init:7} gradient: first layer {norms[0]:.1e}, last layer {norms[-1]:.1e}")
        return
    rng = np.random.default_rng(0)
    data = splits(rng)
    network = {"mlp": mlp, "cnn": cnn, "rnn": rnn}[name](rng)
    lr = 0.01 if name != "mlp" else 0.003
    nn.fit(network, nn.Adam(network, lr), rng, data["train"], data["val"], epochs=20)
    print(f"test/accuracy {nn.accuracy(network, *data['test']):.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "mlp")
