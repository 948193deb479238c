"""Log-mel spectrograms."""

import math

import torch
from torch import Tensor

from litnets.errors import InputError


class LogMel:
    """Logarithm of the power in bands of the mel scale, in windows of a recording that overlap.

    Frame t is centred on sample `t * hop`, with zeros outside the recording, so that a recording of n samples has
    `1 + n // hop` frames and what lies behind its end in a batch does not matter. The bands are triangles on the scale
    mel(f) = 2595 log10(1 + f / 700) (the HTK Book, section 5.4.6), their corners evenly spread from zero to half the
    sample rate, each as high as 1. Their height is of no importance: after the logarithm it is an offset, which
    normalisation takes away.

    Args:
        sample_rate: Samples in a second.
        n_mels: Bands.
        window: Length of the (Hann) window in seconds; the transform's length is the next power of two.
        hop: Seconds from one frame to the next.

    Raises:
        InputError: Lengths that are no sample long, or so many bands that one of them has no frequency in it.
    """

    # Added to the power (1 is that of a wave of full scale in a band), so that digital silence has a logarithm. It
    # lies near the rounding noise of 16 bits: (1/32768)^2 / 12 a sample, times about 100 samples in a window.
    FLOOR = 1e-8

    def __init__(self, sample_rate: int, n_mels: int, window: float = 0.025, hop: float = 0.01) -> None:
        self.window, self.hop = round(window * sample_rate), round(hop * sample_rate)
        if self.window < 2 or self.hop < 1:
            raise InputError(f"window {window} s, hop {hop} s: too short for {sample_rate} samples in a second")
        self.n_fft = 2 ** math.ceil(math.log2(self.window))
        self.filters = mel_filters(sample_rate, self.n_fft, n_mels)
        self.shape = torch.hann_window(self.window)

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """int16 waveforms `(N, samples)`, zero behind their `lengths` `(N,)` -> `(N, frames, n_mels)`, and lengths in
        frames; what lies behind the end is of no meaning."""
        self.filters, self.shape = self.filters.to(waveforms.device), self.shape.to(waveforms.device)
        spectrum = torch.stft(
            waveforms.float() / 32768,
            self.n_fft,
            self.hop,
            self.window,
            self.shape,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real**2 + spectrum.imag**2  # (N, n_fft / 2 + 1, frames)
        return (self.filters @ power + self.FLOOR).log().transpose(1, 2), 1 + lengths // self.hop


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles on the mel scale, `(n_mels, n_fft // 2 + 1)`; see `LogMel`.

    Raises:
        InputError: A band without a frequency of the transform in it.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    low, centre, high = (corners[i : i + n_mels].unsqueeze(1) for i in range(3))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    filters = torch.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)).clamp(min=0)
    if not filters.any(1).all():
        raise InputError(
            f"n_mels: {n_mels} bands are too many for windows of {n_fft} samples at {sample_rate} Hz: one of them has "
            "no frequency in it; take fewer, or a longer window"
        )
    return filters.float()
