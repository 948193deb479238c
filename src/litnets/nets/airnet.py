"""AirNet, which reaches 94% on CIFAR-10 within seconds (Jordan 2024, arXiv 2404.00498)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, gelu, unfold

from litnets.nets.cnn import Downsample

# Added to the variance of each direction before scaling, so that directions of pure noise are not amplified.
_WHITENING_EPS = 5e-4
# Enough patches to estimate a few directions; a batch of large images has far more.
_PATCHES = 2**20
# Biases are stored divided by 8. Under SGD this makes their steps 64 times as large: the separate learning rate of the
# biases in the paper, without a second learning rate.
_BIAS_SCALE = 8.0
_LOGIT_SCALE = 1 / 9


class AirNet(nn.Module):
    """Convolutional network that trains fast on small images (Jordan 2024).

    - A whitening layer of fixed 2x2 filters, fitted on training images (see `Whitening.fit`).
    - Stages of two 3x3 convolutions, the first followed by 2x2 max pooling. They are initialized as the identity as far
      as possible (Zagoruyko and Komodakis 2017), with GELU and a batch normalization that learns a bias but no scale.
    - Global max pooling and a linear layer, whose logits are divided by 9.

    Works for images of at least 2x2 pixels, and is designed for 32x32. Until `whitening.fit` is called, the whitening
    layer is a random projection. The fitted filters are part of the state_dict.

    Takes `(N, channels, height, width)` and returns `(N, out_features)`.

        net = AirNet(3, 10)
        net.whitening.fit(images)  # (N, 3, 32, 32), normalized

    Args:
        in_channels: Channels of the image.
        out_features: Number of outputs (classes or targets).
        widths: Channels of each stage.

    Raises:
        ValueError: No stages, or a stage without channels.
    """

    def __init__(self, in_channels: int, out_features: int, widths: Sequence[int] = (64, 256, 256)) -> None:
        super().__init__()
        if not widths:
            raise ValueError("widths: expected the channels of at least one stage, got none")
        if min(widths) < 1:
            raise ValueError(f"widths: expected at least 1 channel each, got {list(widths)}")
        self.whitening = Whitening(in_channels)
        stages = []
        for fan_in, width in zip((self.whitening.out_channels, *widths[:-1]), widths, strict=True):
            stages.append(
                nn.Sequential(
                    _convolution(fan_in, width),
                    Downsample("max"),
                    _Norm(width),
                    nn.GELU(),
                    _convolution(width, width),
                    _Norm(width),
                    nn.GELU(),
                )
            )
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], out_features, bias=False)
        )
        # The fastest memory format for convolutions on CPUs and GPUs.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, channels, height, width)` to `(N, out_features)`."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = gelu(self.whitening(x))
        out: Tensor = self.head(self.stages(x))
        return out * _LOGIT_SCALE


class Whitening(nn.Module):
    """Project each 2x2 patch onto its principal directions, scaled to unit variance, and onto their negatives.

    Both signs are needed because the activation after it suppresses negative values. Only the biases are trained.

    Takes `(N, channels, height, width)` and returns `(N, 8 * channels, height - 1, width - 1)`.
    """

    weight: Tensor
    fitted: Tensor
    RENAMED_STATE: ClassVar[dict[str, str]] = {"known": "fitted"}  # in checkpoints up to version 0.1

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = 4 * channels
        directions = torch.linalg.qr(torch.randn(size, size)).Q.view(size, channels, 2, 2)
        self.out_channels = 2 * size
        self.register_buffer("weight", torch.cat([directions, -directions]))
        self.register_buffer("fitted", torch.tensor(False))  # whether the weights come from images
        self.register_load_state_dict_pre_hook(_rename_state)  # type: ignore[no-untyped-call]
        self.bias = nn.Parameter(torch.zeros(2 * size))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the filters from images `(N, channels, height, width)`, normalized as for the network.

        The filters are the eigenvectors of E[patch patch'], the covariance of the patches if the images have mean 0.
        """
        images = images[: max(1, _PATCHES // images[0, 0].numel())].float()
        patches = unfold(images, 2).transpose(1, 2).flatten(0, 1)  # (N * patches, 4 * channels)
        # The matrix has a dozen rows. The CPU decomposes it as fast as a GPU, and in float64.
        moments = (patches.T @ patches / len(patches)).double().cpu()
        values, vectors = torch.linalg.eigh(moments)
        directions = (vectors / (values.clamp(min=0) + _WHITENING_EPS).sqrt()).T  # (directions, 4 * channels)
        directions = directions.flip(0)  # largest variance first
        self.weight.copy_(torch.cat([directions, -directions]).view_as(self.weight))
        self.fitted.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias)


def _rename_state(module: Whitening, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    for old, new in module.RENAMED_STATE.items():
        if prefix + old in state_dict:
            state_dict[prefix + new] = state_dict.pop(prefix + old)


class _Norm(nn.Module):
    """Batch normalization with a bias and no scale. Its running statistics adapt fast, because training is short."""

    running_mean: Tensor
    running_var: Tensor
    ones: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("ones", torch.ones(width), persistent=False)  # the fast kernels need a scale
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        # torch raises an error for a single value per channel, which has no variance.
        use_batch_statistics = self.training and x[:, 0].numel() > 1
        return batch_norm(
            x,
            self.running_mean,
            self.running_var,
            weight=self.ones,
            bias=_BIAS_SCALE * self.shift,
            training=use_batch_statistics,
            momentum=0.4,
            eps=1e-5,
        )


def _convolution(fan_in: int, width: int) -> nn.Conv2d:
    """Return a convolution whose first output channels are its input channels."""
    convolution = nn.Conv2d(fan_in, width, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[:fan_in])
    return convolution
