"""MLP, CNN and RNN in NumPy alone, written to be read.

A layer has two methods. `forward` computes the output and remembers what the gradients will need. `backward` takes the
gradient of the loss with respect to the output, stores the gradients of the layer's own weights in `grads`, and returns
the gradient with respect to the input, which is the output of the layer before. The chain rule is nothing more.

Shapes: N samples, F features, C channels, H x W pixels, T steps, S units of a recurrent layer.
"""

import copy

import numpy as np


class Layer:
    """A function with weights `params`, and after `backward` their gradients `grads`, by the same names."""

    def __init__(self, **params):
        self.params = params
        self.grads = {}

    def forward(self, x, training):
        raise NotImplementedError

    def backward(self, grad):
        raise NotImplementedError


# Weights at the start


def initial_weights(rng, shape, init="he"):
    """Return the initial weights of a layer, of shape (outputs, inputs, ...)."""
    fan_out, fan_in = shape[0] * int(np.prod(shape[2:])), int(np.prod(shape[1:]))
    if init == "zeros":  # all units of a layer stay equal for ever
        return np.zeros(shape)
    if init == "normal":  # too small for deep networks
        return rng.normal(0, 0.01, shape)
    if init == "xavier":  # keeps the variance through tanh, forward and backward (Glorot and Bengio 2010)
        limit = np.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape)
    if init == "he":  # twice the variance, because ReLU sets half of the values to zero (He et al. 2015)
        return rng.normal(0, np.sqrt(2 / fan_in), shape)
    raise ValueError(f"init: expected zeros, normal, xavier or he, got {init!r}")


# Fully connected


class Linear(Layer):
    """y = x W^T + b, from (N, in) to (N, out)."""

    def __init__(self, rng, in_features, out_features, init="he"):
        super().__init__(weight=initial_weights(rng, (out_features, in_features), init), bias=np.zeros(out_features))

    def forward(self, x, training):
        self.x = x
        return x @ self.params["weight"].T + self.params["bias"]

    def backward(self, grad):
        self.grads = {"weight": grad.T @ self.x, "bias": grad.sum(0)}
        return grad @ self.params["weight"]


class Flatten(Layer):
    """(N, C, H, W) -> (N, C * H * W)."""

    def forward(self, x, training):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad):
        return grad.reshape(self.shape)


# Activations, which have no weights


class ReLU(Layer):
    def forward(self, x, training):
        self.positive = x > 0
        return x * self.positive

    def backward(self, grad):
        return grad * self.positive


class Tanh(Layer):
    def forward(self, x, training):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad):
        return grad * (1 - self.y**2)


class Sigmoid(Layer):
    def forward(self, x, training):
        self.y = sigmoid(x)
        return self.y

    def backward(self, grad):
        return grad * self.y * (1 - self.y)  # at most a quarter: gradients vanish in deep networks


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))  # 1 / (1 + exp(-x)), without overflow


# Regularization


class Dropout(Layer):
    """In training, set a share `p` of the values to zero and scale up the others, so that the mean stays the same."""

    def __init__(self, rng, p):
        super().__init__()
        self.rng, self.p = rng, p

    def forward(self, x, training):
        self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p) if training else 1.0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask


class BatchNorm(Layer):
    """Normalize each feature `(N, F)` or channel `(N, C, H, W)`, in training by the batch, then by running averages."""

    def __init__(self, features, momentum=0.1, eps=1e-5):
        super().__init__(weight=np.ones(features), bias=np.zeros(features))
        self.momentum, self.eps = momentum, eps
        self.mean, self.var = np.zeros(features), np.ones(features)

    def forward(self, x, training):
        self.axes = (0, *range(2, x.ndim))  # all but the channels
        mean, var = (x.mean(self.axes), x.var(self.axes)) if training else (self.mean, self.var)
        if training:
            count = x.size // x.shape[1]
            self.mean += self.momentum * (mean - self.mean)
            self.var += self.momentum * (var * count / (count - 1) - self.var)  # the unbiased variance
        self.std = self._columns(np.sqrt(var + self.eps), x)
        self.normalized = (x - self._columns(mean, x)) / self.std
        return self.normalized * self._columns(self.params["weight"], x) + self._columns(self.params["bias"], x)

    def backward(self, grad):
        self.grads = {"weight": (grad * self.normalized).sum(self.axes), "bias": grad.sum(self.axes)}
        grad = grad * self._columns(self.params["weight"], grad)
        # Mean and deviation depend on x too: the output can neither be shifted nor scaled through them.
        shift = grad.mean(self.axes, keepdims=True)
        scale = (grad * self.normalized).mean(self.axes, keepdims=True)
        return (grad - shift - self.normalized * scale) / self.std

    @staticmethod
    def _columns(values, x):
        return values.reshape(1, -1, *[1] * (x.ndim - 2))


# Images


class Conv2d(Layer):
    """A filter bank that slides over the image, from (N, C, H, W) to (N, filters, H, W); stride 1, zero padding."""

    def __init__(self, rng, in_channels, filters, size=3, init="he"):
        weight = initial_weights(rng, (filters, in_channels, size, size), init)
        super().__init__(weight=weight, bias=np.zeros(filters))
        self.size, self.padding = size, size // 2

    def forward(self, x, training):
        self.patches = self._patches(x)
        return np.einsum("nchwij,fcij->nfhw", self.patches, self.params["weight"], optimize=True) + self.params[
            "bias"
        ].reshape(-1, 1, 1)

    def backward(self, grad):
        weight = np.einsum("nchwij,nfhw->fcij", self.patches, grad, optimize=True)
        self.grads = {"weight": weight, "bias": grad.sum((0, 2, 3))}
        # Each pixel has been seen by the filters around it: the same convolution with the filters turned around.
        turned = self.params["weight"][:, :, ::-1, ::-1]
        return np.einsum("nfhwij,fcij->nchw", self._patches(grad), turned, optimize=True)

    def _patches(self, x):
        """Return the neighborhood of each pixel, (N, C, H, W, size, size), without copying."""
        x = np.pad(x, ((0, 0), (0, 0), (self.padding, self.padding), (self.padding, self.padding)))
        return np.lib.stride_tricks.sliding_window_view(x, (self.size, self.size), axis=(2, 3))


class MaxPool(Layer):
    """The maximum of each 2x2 square: (N, C, H, W) -> (N, C, H / 2, W / 2)."""

    def forward(self, x, training):
        n, c, h, w = self.shape = x.shape
        squares = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).swapaxes(3, 4)
        squares = squares.reshape(n, c, h // 2, w // 2, 4)
        self.winner = squares.argmax(-1)[..., None] == np.arange(4)
        return squares.max(-1)

    def backward(self, grad):
        n, c, h, w = self.shape
        out = np.zeros(self.shape)
        squares = (grad[..., None] * self.winner).reshape(n, c, h // 2, w // 2, 2, 2).swapaxes(3, 4)
        out[:, :, : h // 2 * 2, : w // 2 * 2] = squares.reshape(n, c, h // 2 * 2, w // 2 * 2)
        return out


class GlobalAveragePool(Layer):
    """The mean of each channel: (N, C, H, W) -> (N, C)."""

    def forward(self, x, training):
        self.shape = x.shape
        return x.mean((2, 3))

    def backward(self, grad):
        pixels = self.shape[2] * self.shape[3]
        return np.broadcast_to(grad[:, :, None, None] / pixels, self.shape)


# Sequences


class Recurrent(Layer):
    """A recurrent layer that returns the state after the last step: (N, T, F) -> (N, S).

    `backward` goes back through the steps (backpropagation through time). The weights are the same in each step, so
    that their gradients add up. A subclass defines one step forward and backward. Weights are stacked by gate.
    """

    gates = 1

    def __init__(self, rng, in_features, size, init="xavier"):
        self.size = size
        super().__init__(
            weight_in=np.concatenate([initial_weights(rng, (size, in_features), init) for _ in range(self.gates)]),
            weight_state=np.concatenate([initial_weights(rng, (size, size), init) for _ in range(self.gates)]),
            bias_in=np.zeros(size * self.gates),
            bias_state=np.zeros(size * self.gates),
        )

    def forward(self, x, training):
        self.x, self.steps = x, []
        state = self.first_state(len(x))
        for t in range(x.shape[1]):
            from_input = x[:, t] @ self.params["weight_in"].T + self.params["bias_in"]
            from_state = state[0] @ self.params["weight_state"].T + self.params["bias_state"]
            new_state, remembered = self.step(from_input, from_state, state)
            self.steps.append((state, remembered))
            state = new_state
        return state[0]

    def backward(self, grad):
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        grad_x = np.zeros_like(self.x)
        grad_state = (grad, *(np.zeros_like(grad) for _ in self.first_state(1)[1:]))
        for t in reversed(range(self.x.shape[1])):
            state, remembered = self.steps[t]
            grad_in, grad_from_state, grad_state = self.step_back(grad_state, state, remembered)
            self.grads["weight_in"] += grad_in.T @ self.x[:, t]
            self.grads["bias_in"] += grad_in.sum(0)
            self.grads["weight_state"] += grad_from_state.T @ state[0]
            self.grads["bias_state"] += grad_from_state.sum(0)
            grad_x[:, t] = grad_in @ self.params["weight_in"]
            hidden = grad_state[0] + grad_from_state @ self.params["weight_state"]
            grad_state = (hidden, *grad_state[1:])
        return grad_x

    def first_state(self, n):
        return (np.zeros((n, self.size)),)


class RNN(Recurrent):
    """h' = tanh(from_input + from_state)."""

    def step(self, from_input, from_state, state):
        new = np.tanh(from_input + from_state)
        return (new,), new

    def step_back(self, grad_state, state, new):
        grad = grad_state[0] * (1 - new**2)
        return grad, grad, (np.zeros_like(grad),)


class GRU(Recurrent):
    """Gates: reset r, update z, candidate n. h' = (1 - z) n + z h (Cho et al. 2014)."""

    gates = 3

    def step(self, from_input, from_state, state):
        (in_r, in_z, in_n), (st_r, st_z, st_n) = np.split(from_input, 3, 1), np.split(from_state, 3, 1)
        r, z = sigmoid(in_r + st_r), sigmoid(in_z + st_z)
        n = np.tanh(in_n + r * st_n)
        return ((1 - z) * n + z * state[0],), (r, z, n, st_n)

    def step_back(self, grad_state, state, remembered):
        r, z, n, st_n = remembered
        grad = grad_state[0]
        grad_n = grad * (1 - z) * (1 - n**2)
        grad_z = grad * (state[0] - n) * z * (1 - z)
        grad_r = grad_n * st_n * r * (1 - r)
        from_input = np.concatenate([grad_r, grad_z, grad_n], 1)
        from_state = np.concatenate([grad_r, grad_z, grad_n * r], 1)
        return from_input, from_state, (grad * z,)


class LSTM(Recurrent):
    """Gates: input i, forget f, candidate g, output o. c' = f c + i g; h' = o tanh(c') (Hochreiter 1997)."""

    gates = 4

    def first_state(self, n):
        return np.zeros((n, self.size)), np.zeros((n, self.size))

    def step(self, from_input, from_state, state):
        i, f, g, o = np.split(from_input + from_state, 4, 1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        cell = f * state[1] + i * g
        return (o * np.tanh(cell), cell), (i, f, g, o, np.tanh(cell))

    def step_back(self, grad_state, state, remembered):
        i, f, g, o, tanh_cell = remembered
        grad_cell = grad_state[1] + grad_state[0] * o * (1 - tanh_cell**2)
        grad = np.concatenate(
            [
                grad_cell * g * i * (1 - i),
                grad_cell * state[1] * f * (1 - f),
                grad_cell * i * (1 - g**2),
                grad_state[0] * tanh_cell * o * (1 - o),
            ],
            1,
        )
        return grad, grad, (np.zeros_like(grad_cell), grad_cell * f)


# Networks, losses and optimizers


class Network:
    """Layers one after the other."""

    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x, training=False):
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def parameters(self):
        """Return all weights as a list of (weights, name, layer)."""
        return [(value, name, layer) for layer in self.layers for name, value in layer.params.items()]

    def gradients(self):
        return [layer.grads[name] for _, name, layer in self.parameters()]


def cross_entropy(logits, targets):
    """Return the mean of -log(probability of the right class), and its gradient: (probabilities - one-hot) / N."""
    shifted = logits - logits.max(1, keepdims=True)  # the same probabilities, without overflow
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(targets))
    grad = np.exp(log_probabilities)
    grad[rows, targets] -= 1
    return -log_probabilities[rows, targets].mean(), grad / len(targets)


def clip(grads, max_norm):
    """Scale all gradients, in place, so that their common norm is at most `max_norm`."""
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    for grad in grads:
        grad *= min(1.0, max_norm / (norm + 1e-6))


class SGD:
    """Velocity v = momentum v + gradient; weights -= lr v."""

    def __init__(self, network, lr, momentum=0.0):
        self.network, self.lr, self.momentum = network, lr, momentum
        self.velocities = [np.zeros_like(value) for value, *_ in network.parameters()]

    def step(self, grads):
        for (value, *_), grad, velocity in zip(self.network.parameters(), grads, self.velocities, strict=True):
            velocity *= self.momentum
            velocity += grad
            value -= self.lr * velocity


class Adam:
    """Steps of about `lr` for each weight: running mean of its gradient over its running size (Kingma and Ba 2015)."""

    def __init__(self, network, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.network, self.lr, self.betas, self.eps, self.steps = network, lr, betas, eps, 0
        self.means = [np.zeros_like(value) for value, *_ in network.parameters()]
        self.squares = [np.zeros_like(value) for value, *_ in network.parameters()]

    def step(self, grads):
        self.steps += 1
        beta1, beta2 = self.betas
        parameters = self.network.parameters()
        for (value, *_), grad, mean, square in zip(parameters, grads, self.means, self.squares, strict=True):
            mean += (1 - beta1) * (grad - mean)
            square += (1 - beta2) * (grad**2 - square)
            # Both start at zero, and are too small by these factors.
            unbiased_mean, unbiased_square = mean / (1 - beta1**self.steps), square / (1 - beta2**self.steps)
            value -= self.lr * unbiased_mean / (np.sqrt(unbiased_square) + self.eps)


def accuracy(network, x, targets):
    return (network.forward(x).argmax(1) == targets).mean()


def fit(network, optimizer, rng, train, val, epochs=20, batch_size=32, patience=3, max_norm=1.0):
    """Train, and keep the weights of the epoch with the lowest validation loss; stop early without a better one.

    Args:
        train, val: Pairs of inputs and targets.
        patience: Epochs without a better validation loss after which training stops.

    Returns:
        The validation loss of each epoch.
    """
    (x, targets), losses, best = train, [], None
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            _, grad = cross_entropy(network.forward(x[batch], training=True), targets[batch])
            network.backward(grad)
            grads = network.gradients()
            clip(grads, max_norm)
            optimizer.step(grads)
        losses.append(cross_entropy(network.forward(val[0]), val[1])[0])
        print(f"epoch {epoch + 1:2}  val/loss {losses[-1]:.4f}  val/accuracy {accuracy(network, *val):.4f}")
        if losses[-1] == min(losses):
            best = copy.deepcopy(network.layers)
        elif len(losses) - losses.index(min(losses)) > patience:
            print(f"stopped early: no better val/loss for {patience} epochs")
            break
    network.layers = best
    return losses
