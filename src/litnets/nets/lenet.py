"""LeNet-5: the first convolutional network in wide use (LeCun et al. 1998, doi 10.1109/5.726791)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from litnets.nets.layers.activation import ACTIVATIONS, Activation
from litnets.nets.layers.initialization import Init, initialize

_SIDE = 32  # of the images in the paper


class LeNet(nn.Module):
    """LeNet-5: two 5x5 convolutions, each followed by 2x2 average pooling, and three linear layers.

    Differs from the paper in that the second convolution sees all channels of the first, pooling has no weights, and
    the last layer is linear. Images smaller than 32x32 pixels are padded with zeros, as the paper does for MNIST.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = LeNet((1, 28, 28), 10)  # 61,706 parameters

    Args:
        in_shape: Shape of one image, (channels, height, width).
        out_features: Number of outputs (classes or targets).
        activation: Name of the activation; the paper uses `tanh`.
        init: Weight initialization, see `litnets.nets.layers.initialization.initialize`.
    """

    def __init__(
        self, in_shape: Sequence[int], out_features: int, activation: Activation = "tanh", init: Init = "default"
    ) -> None:
        super().__init__()
        channels, *sides = in_shape
        height, width = ((max(side, _SIDE) - 12) // 4 for side in sides)
        act = ACTIVATIONS[activation]
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 6, 5), act(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), act(), nn.AvgPool2d(2)),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(16 * height * width, 120), act()),
            *(nn.Linear(120, 84), act()),
            nn.Linear(84, out_features),
        )
        initialize(self, init, activation)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, height, width)` -> `(N, out_features)`."""
        bottom, right = (max(_SIDE - side, 0) for side in x.shape[-2:])
        x = pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))
        out: Tensor = self.head(self.features(x))
        return out
