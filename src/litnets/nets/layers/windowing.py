"""Window: how a network of any kind meets a window of a time series."""

from typing import Literal

from torch import Tensor, nn

WindowNorm = Literal["none", "last", "standard"]


class Window(nn.Module):
    """Forecasts `(N, look_back, channels) -> (N, horizon, channels)` by a network for one flat answer.

    What makes even small networks forecast well, from the literature: each window is brought to one level, and the
    forecast is taken back to the window's own; one network serves all channels, each of which it sees alone; and a
    recurrent network reads several steps at once.

    Args:
        net: `(N, steps, features) -> (N, horizon * features)`, with `steps = look_back / patch_length`. The features of
            its input are `patch_length * channels`, those of its output `channels`; `channels` is 1 if they are shared.
        norm: `last` subtracts the window's last value (NLinear: Zeng et al. 2023), `standard` its mean, and divides by
            its standard deviation (Kim et al. 2022, RevIN without its learnt scale), `none` nothing.
        share_channels: Whether the channels go through the network one by one, as samples of their own (Nie et al.
            2023); otherwise all at once.
        patch_length: Consecutive steps that are read as one (Nie et al. 2023); a divisor of look_back.
    """

    def __init__(
        self, net: nn.Module, norm: WindowNorm = "last", share_channels: bool = True, patch_length: int = 1
    ) -> None:
        super().__init__()
        self.net, self.norm, self.share_channels, self.patch_length = net, norm, share_channels, patch_length

    def forward(self, x: Tensor) -> Tensor:
        """`(N, look_back, channels)` -> `(N, horizon, channels)`."""
        samples, _, channels = x.shape
        if self.norm == "last":
            level = x[:, -1:]
            x = x - level
        elif self.norm == "standard":
            level = x.mean(1, keepdim=True)
            spread = (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()  # 1e-5: as the paper, for a constant window
            x = (x - level) / spread
        if self.share_channels:
            x = x.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (N * channels, look_back, 1)
        x = x.reshape(len(x), -1, self.patch_length * x.shape[2])
        out: Tensor = self.net(x)  # (N, horizon * channels) or (N * channels, horizon)
        if self.share_channels:
            out = out.reshape(samples, channels, -1).transpose(1, 2)
        else:
            out = out.reshape(samples, -1, channels)
        if self.norm == "standard":
            out = out * spread
        return out if self.norm == "none" else out + level
