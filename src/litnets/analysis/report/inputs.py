"""The inputs in inputs.parquet as HTML: images, texts, recordings, series and rows of a table."""

import base64
import io
import json
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from litnets.analysis.report.svg import traces
from litnets.errors import InputError
from litnets.runs.stored_inputs import StoredInput, open_image

_MAX_TEXT = 280  # characters
_MAX_COLUMNS = 10  # of a row
# The colors --c0 to --c9 of the page.
_COLORS = np.array(
    [[59, 125, 216], [224, 123, 57], [58, 157, 93], [201, 79, 79], [139, 107, 201], [140, 109, 70], [212, 111, 176],
     [127, 135, 144], [168, 160, 44], [42, 165, 184]]
)  # fmt: skip


@dataclass
class Budget:
    """The bytes that embedded files may take. What does not fit is left out, and counted.

    Args:
        limit: Number of bytes.
        left_out: Number of files that did not fit.
    """

    limit: int
    left_out: int = 0
    used: int = 0

    def embed(self, content: bytes, media_type: str) -> str | None:
        """Return a file as a `data:` address, or None if it does not fit."""
        size = len(content) * 4 // 3
        if self.used + size > self.limit:
            self.left_out += 1
            return None
        self.used += size
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Inputs:
    """The inputs that a run has stored.

    Args:
        stored: The content of inputs.parquet.
        budget: The bytes that they may take in the page.
    """

    stored: Sequence[StoredInput]
    budget: Budget = field(default_factory=lambda: Budget(0))

    def examples(self, split: str) -> list[int]:
        """Return the positions in the split of the inputs that were stored as examples."""
        chosen = (one.index for one in self.stored if (one.split, one.role) == (split, "example"))
        return list(dict.fromkeys(chosen))

    @cached_property
    def _contents(self) -> dict[tuple[str, int], dict[str, bytes]]:
        """The contents of each sample, by their kind."""
        contents: dict[tuple[str, int], dict[str, bytes]] = {}
        for one in self.stored:
            contents.setdefault((one.split, one.index), {})[one.kind] = one.content
        return contents

    def html(self, split: str, index: int) -> Markup | None:
        """Return a sample as HTML; None if it is not stored."""
        parts = self._contents.get((split, index))
        if not parts:
            return None
        try:
            if "mask" in parts and "image" in parts:
                return _masked(parts, self.budget)
            pieces = [_RENDERERS[kind](content, self.budget) for kind, content in parts.items() if kind in _RENDERERS]
        except Exception as error:  # decoders raise errors of many kinds
            reason = str(error) or type(error).__name__
            raise InputError(f"inputs.parquet is damaged ({split} {index}: {reason}); delete it") from error
        return Markup("").join(pieces)


def _image(content: bytes, budget: Budget) -> Markup:
    address = budget.embed(content, "image/png")
    if address is None:
        return Markup('<span class="gone">image</span>')
    return Markup('<img alt="" src="{}">').format(address)


def _text(content: bytes, budget: Budget) -> Markup:
    text = content.decode("utf-8", "replace")
    shown = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …"
    return Markup('<span class="text">{}</span>').format(shown)


def _audio(content: bytes, budget: Budget) -> Markup:
    with wave.open(io.BytesIO(content)) as file:
        rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
        data = file.readframes(file.getnframes())
    kind = {1: np.uint8, 2: np.int16, 4: np.int32}[width]
    samples = np.frombuffer(data, kind).astype(float).reshape(-1, channels).mean(1)
    picture = Markup('<div class="spectrogram">{}</div>').format(_image(_png(spectrogram(samples, rate)), budget))
    address = budget.embed(content, "audio/wav")
    player = "" if address is None else Markup('<audio controls preload="none" src="{}"></audio>').format(address)
    return picture + player


def spectrogram(samples: NDArray[np.float64], rate: int) -> NDArray[np.uint8]:
    """Return a spectrogram in decibels as the pixels of an image, high frequencies at the top, `(height, width)`."""
    size = max(64, 2 ** int(np.log2(rate * 0.03)))
    samples = np.pad(samples, (0, max(size - len(samples), 0)))
    starts = np.linspace(0, len(samples) - size, min(200, 1 + (len(samples) - size) // (size // 4))).astype(int)
    frames = samples[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames))[:, : size // 2] ** 2
    power = power.reshape(len(power), -1, max(1, size // 2 // 64)).mean(2)  # at most 64 bands
    decibels = 10 * np.log10(power + 1e-10)
    scaled = np.clip((decibels - decibels.max() + 60) / 60, 0, 1)
    pixels: NDArray[np.uint8] = (255 - 255 * scaled.T[::-1]).astype(np.uint8)
    return pixels


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _series(content: bytes, budget: Budget) -> Markup:
    values = np.load(io.BytesIO(content), allow_pickle=False)
    return traces(np.asarray(values, float).reshape(len(values), -1))


def _row(content: bytes, budget: Budget) -> Markup:
    row: dict[str, Any] = json.loads(content)
    cells = [
        Markup("<tr><th>{}</th><td>{}</td></tr>").format(name, _cell(value))
        for name, value in list(row.items())[:_MAX_COLUMNS]
    ]
    more = len(row) - _MAX_COLUMNS
    rest = Markup('<span class="dim">and {} more columns</span>').format(more) if more > 0 else ""
    return Markup('<table class="row">{}</table>{}').format(Markup("").join(cells), rest)


def _cell(value: Any) -> str:
    """Return a cell of a table as text: with four significant digits, or from 10,000 on as a whole number."""
    if value is None:
        return "missing"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return str(value)


def mask_color(classes: Any) -> Any:
    """Return the index of the color of a class, or of an array of them: gray for the first, often the background."""
    return (classes + 7) % len(_COLORS)


def _masked(parts: dict[str, bytes], budget: Budget) -> Markup:
    """Return an image, then the image overlaid with its mask and with the predicted mask."""
    from PIL import Image

    picture = open_image(parts["image"]).convert("RGB")
    pieces = [_image(parts["image"], budget)]
    for kind in ("mask", "predicted_mask"):
        if kind in parts:
            mask = np.asarray(open_image(parts[kind]).resize(picture.size, Image.Resampling.NEAREST), int)
            blended = np.asarray(picture, float) * 0.45 + _COLORS[mask_color(mask)] * 0.55
            pieces.append(_image(_png(blended.astype(np.uint8)), budget))
    return Markup("").join(pieces)


_RENDERERS = {"image": _image, "mask": _image, "text": _text, "audio": _audio, "series": _series, "row": _row}
