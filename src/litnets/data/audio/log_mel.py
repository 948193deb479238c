"""Log-mel spectrograms."""

import math

import torch
from torch import Tensor, nn

from litnets.errors import InputError


class LogMel(nn.Module):
    """Log-mel spectrogram: the logarithm of the power in mel bands, in overlapping windows.

        log_mel = LogMel(16000, n_mels=40)
        log_mel(torch.zeros(8, 16000, dtype=torch.int16), torch.full((8,), 16000))  # (8, 101, 40), (8,)

    Frame t is centered on sample `t * hop`, with zeros outside the recording, so that a recording of n samples has
    `1 + n // hop` frames and does not depend on its padding in a batch. The bands are triangular filters on the scale
    mel(f) = 2595 log10(1 + f / 700) (the HTK Book, section 5.4.6), evenly spaced from 0 to half the sample rate, with
    height 1. Other heights would only add an offset to the logarithm, which normalization removes.

    Args:
        sample_rate: Sample rate, in Hz.
        n_mels: Number of mel bands.
        window: Length of the Hann window, in seconds. The length of the Fourier transform is the next power of two.
        hop: Time between consecutive frames, in seconds.

    Raises:
        InputError: The window or hop is shorter than a sample, or a band contains no frequency of the transform.
    """

    # Added to the power, where 1 is a full-scale wave, so that the logarithm of digital silence is finite. It is close
    # to the quantization noise of 16 bits: (1/32768)^2 / 12 per sample, times about 100 samples in a window.
    FLOOR = 1e-8

    filters: Tensor
    shape: Tensor

    def __init__(self, sample_rate: int, n_mels: int, window: float = 0.025, hop: float = 0.01) -> None:
        super().__init__()
        self.window, self.hop = round(window * sample_rate), round(hop * sample_rate)
        if self.window < 2 or self.hop < 1:
            raise InputError(
                f"window {window} s, hop {hop} s: too short for a sample rate of {sample_rate} Hz; increase them"
            )
        self.n_fft = 2 ** math.ceil(math.log2(self.window))
        self.register_buffer("filters", mel_filters(sample_rate, self.n_fft, n_mels), persistent=False)
        self.register_buffer("shape", torch.hann_window(self.window), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-mel spectrograms.

        Args:
            waveforms: int16 samples, `(N, samples)`, zero in the padding.
            lengths: Number of samples of each recording, `(N,)`.

        Returns:
            The spectrograms `(N, frames, n_mels)`, arbitrary in the padding, and the number of frames of each, `(N,)`.
        """
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
    """Return triangular filters on the mel scale, `(n_mels, n_fft // 2 + 1)`; see `LogMel`.

    Raises:
        InputError: A band contains no frequency of the transform.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    low, center, high = (corners[i : i + n_mels].unsqueeze(1) for i in range(3))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    filters = torch.minimum((frequencies - low) / (center - low), (high - frequencies) / (high - center)).clamp(min=0)
    if not filters.any(1).all():
        raise InputError(
            f"n_mels: {n_mels} bands are too many for windows of {n_fft} samples at {sample_rate} Hz, because one "
            "contains no frequency; reduce n_mels or increase window"
        )
    return filters.float()
