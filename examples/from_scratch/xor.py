"""XOR, the smallest problem that needs a hidden layer: one step of training with all its numbers, then the rest.

python examples/from_scratch/xor.py
"""

import numpy as np


def train(hidden_weights, output_weights, steps=400, lr=1.0):
    """Train 2 inputs -> 2 tanh units -> 1 sigmoid output, all written out.

    Args:
        hidden_weights: The weights of the hidden layer at the start, (2 units, 2 inputs).
        output_weights: Those of the output, (1, 2 units).

    Returns:
        The probabilities of the four inputs, and the hidden weights.
    """
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    y = np.array([[0], [1], [1], [0]], float)
    w1, b1 = np.array(hidden_weights, float), np.zeros(2)
    w2, b2 = np.array(output_weights, float), np.zeros(1)
    for step in range(1, steps + 1):
        # Forward: from the input to the probability of "1".
        hidden = np.tanh(x @ w1.T + b1)  # (4 samples, 2 units)
        probability = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))  # (4, 1)
        loss = -(y * np.log(probability) + (1 - y) * np.log(1 - probability)).mean()

        # Backward: from the loss to each weight.
        grad_output = (probability - y) / len(x)  # of sigmoid and cross entropy together
        grad_w2, grad_b2 = grad_output.T @ hidden, grad_output.sum(0)
        grad_hidden = grad_output @ w2 * (1 - hidden**2)  # tanh' = 1 - tanh^2
        grad_w1, grad_b1 = grad_hidden.T @ x, grad_hidden.sum(0)

        # Update: a step against the gradient.
        new_w1 = w1 - lr * grad_w1
        if step == 1:
            print(f"hidden\n{hidden}\nprobability {probability.ravel()}\nloss {loss:.4f}")
            print(f"gradient of the hidden weights\n{grad_w1}\nhidden weights {w1.ravel()} -> {new_w1.ravel()}")
        elif step % (steps // 4) == 0:
            print(f"step {step:3}  loss {loss:.4f}  probability {probability.ravel()}")
        w1, b1, w2, b2 = new_w1, b1 - lr * grad_b1, w2 - lr * grad_w2, b2 - lr * grad_b2
    return probability.ravel(), w1


if __name__ == "__main__":
    np.set_printoptions(precision=3, suppress=True)
    print("## weights that differ")
    train([[1, -0.5], [-0.5, 1]], [[1, 0.5]])
    print("\n## all weights zero: no gradient, so nothing is ever learned")
    train([[0, 0], [0, 0]], [[0, 0]])
    print("\n## two equal units: they get equal gradients, and stay one unit, which cannot do XOR")
    _, weights = train([[1, -0.5], [1, -0.5]], [[1, 1]])
    print(f"hidden weights {weights.ravel()}")
