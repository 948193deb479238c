"""Window: forecast a window of a time series with any network."""

from typing import Literal

from torch import Tensor, nn

WindowNorm = Literal["none", "last", "standard"]


class Window(nn.Module):
    """Forecast a window `(N, look_back, channels) -> (N, horizon, channels)` with any network.

    Three methods from the literature make even small networks forecast well. Each window is normalized, and its
    forecast is denormalized. One network forecasts every channel, from that channel alone. Several consecutive steps
    are read as one.

        Window(MLP(336, 96, hidden_layer_sizes=()), norm="last")  # NLinear

    Args:
        net: `(N, steps, features) -> (N, horizon * channels)`, with `steps = look_back / patch_length` and
            `features = patch_length * channels`; `channels` is 1 if the network is shared by the channels.
        norm: `last` subtracts the last value of the window (NLinear, Zeng et al. 2023); `standard` subtracts the mean
            and divides by the standard deviation (RevIN without its learned scale, Kim et al. 2022); or `none`.
        share_channels: Whether the channels pass through the network one by one, as separate samples (Nie et al. 2023),
            or all at once.
        patch_length: Consecutive steps that are read as one, a divisor of the look-back (Nie et al. 2023).
    """

    def __init__(
        self, net: nn.Module, norm: WindowNorm = "last", share_channels: bool = True, patch_length: int = 1
    ) -> None:
        super().__init__()
        self.net, self.norm, self.share_channels, self.patch_length = net, norm, share_channels, patch_length

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, look_back, channels)` to `(N, horizon, channels)`."""
        samples, _, channels = x.shape
        if self.norm == "last":
            level = x[:, -1:]
            x = x - level
        elif self.norm == "standard":
            level = x.mean(1, keepdim=True)
            spread = (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()  # 1e-5 as in the paper, for constant windows
            x = (x - level) / spread
        if self.share_channels:
            x = x.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N * channels, look_back, 1)
        x = x.reshape(x.shape[0], -1, self.patch_length * x.shape[2])
        out: Tensor = self.net(x)  # (N, horizon * channels) or (N * channels, horizon)
        if self.share_channels:
            out = out.reshape(samples, channels, -1).transpose(1, 2)
        else:
            out = out.reshape(samples, -1, channels)
        if self.norm == "standard":
            out = out * spread
        return out if self.norm == "none" else out + level
