"""AirNet: the network that learns CIFAR-10 to 94 % within seconds (Jordan 2024, arXiv 2404.00498)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, gelu, unfold

from litnets.nets.cnn import Downsample

# Added to the variance along each direction before it is made 1, so that those that are all noise stay small.
_WHITENING_EPS = 5e-4
# So many of them say what a few directions need to know; a batch of large images has many times as many.
_PATCHES = 2**20
# A bias is learnt as an eighth of itself, which under SGD makes its steps 64 times as large: the paper's learning rate
# of the biases, with no second learning rate.
_BIAS_SCALE = 8.0
_LOGIT_SCALE = 1 / 9


class AirNet(nn.Module):
    """Convolutional network made to learn fast: a fixed whitening of 2x2 patches, three stages of two 3x3 convolutions
    (the first followed by a halving of the image) with batch normalisation that has a learnt bias but no scale, GELU,
    the maximum over what is left of the image and a linear layer whose logits are divided by 9. Convolutions start as
    the identity, as far as they go (Zagoruyko and Komodakis 2017). Any image from 2x2 up; made for 32x32.

    The whitening is unknown until `whitening.fit` has seen images; until then it is a random projection. From then on
    it is part of the state_dict.

    Takes `(N, channels, height, width)` and gives `(N, out_features)`.

    Args:
        in_channels: Channels of the image.
        out_features: Numbers in one answer (classes, targets).
        widths: Channels of each stage.

    Raises:
        ValueError: No stage, or one without channels.
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
        # The memory format in which convolutions are fastest on CPUs and GPUs alike.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, height, width)` -> `(N, out_features)`."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = gelu(self.whitening(x))
        out: Tensor = self.head(self.stages(x))
        return out * _LOGIT_SCALE


class Whitening(nn.Module):
    """Projects each 2x2 patch on the directions in which patches vary, each scaled to a variance of 1, and on the
    negatives of these directions (for what follows lets only one sign through). The weights are not learnt; the biases
    are.

    Takes `(N, channels, height, width)` and gives `(N, 8 * channels, height - 1, width - 1)`.
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
        """Find the directions from the patches of `images`, `(N, channels, height, width)`, as the network gets them:
        the eigenvectors of E[patch patch'], which is their covariance if the images are normalised."""
        images = images[: max(1, _PATCHES // images[0, 0].numel())].float()
        patches = unfold(images, 2).transpose(1, 2).flatten(0, 1)  # (N * patches, 4 * channels)
        # A matrix of a dozen rows: nowhere faster than on the CPU, and exact there.
        moments = (patches.T @ patches / len(patches)).double().cpu()
        values, vectors = torch.linalg.eigh(moments)
        directions = (vectors / (values.clamp(min=0) + _WHITENING_EPS).sqrt()).T  # (directions, 4 * channels)
        directions = directions.flip(0)  # the largest variance first
        self.weight.copy_(torch.cat([directions, -directions]).view_as(self.weight))
        self.fitted.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias)


def _rename_state(module: Whitening, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    for old, new in module.RENAMED_STATE.items():
        if prefix + old in state_dict:
            state_dict[prefix + new] = state_dict.pop(prefix + old)


class _Norm(nn.Module):
    """Batch normalisation with a learnt bias and no scale, its statistics those of the last few batches: training is
    that short."""

    running_mean: Tensor
    running_var: Tensor
    ones: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("ones", torch.ones(width), persistent=False)  # the fast kernels ask for a scale
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        # A last batch of one image, of which one pixel is left, has no variance; torch refuses it.
        batch = self.training and x[:, 0].numel() > 1
        return batch_norm(
            x,
            self.running_mean,
            self.running_var,
            weight=self.ones,
            bias=_BIAS_SCALE * self.shift,
            training=batch,
            momentum=0.4,
            eps=1e-5,
        )


def _convolution(fan_in: int, width: int) -> nn.Conv2d:
    """A convolution that hands its input on in its first channels."""
    convolution = nn.Conv2d(fan_in, width, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[:fan_in])
    return convolution
