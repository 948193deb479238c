"""Inputs as the bytes of files that anything can show: PNG, WAV, .npy, JSON."""

import io
import json
import math
import wave
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

MAX_SIDE = 96  # pixels of an image; a larger one is scaled down
MAX_CONTENT_BYTES = 100_000  # of a sound or a series; the rest is left out
MAX_CHARACTERS = 5_000  # of a text or a cell


def to_png(pixels: Tensor, white: int = 255) -> bytes:
    """Return an image `(channels, height, width)`, uint8, as PNG: three channels in color, or the first in gray.

    Args:
        pixels: The image.
        white: The pixel value of white.
    """
    array = pixels.numpy()
    if white != 255:
        array = np.rint(array * (255 / white)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(array, 0, -1)) if len(array) == 3 else array[0])
    return _write_png(_scale_down(image, Image.Resampling.BOX))


def mask_to_png(mask: Tensor) -> bytes:
    """Return a mask `(height, width)` as PNG whose gray values are the classes."""
    return _write_png(_scale_down(Image.fromarray(mask.numpy().astype(np.uint8)), Image.Resampling.NEAREST))


def _scale_down(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    factor = MAX_SIDE / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), resampling)


def _write_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def to_wav(samples: Tensor, sample_rate: int) -> bytes:
    """Return the first samples of a mono recording, int16 `(samples,)`, as WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples[: MAX_CONTENT_BYTES // 2].numpy().astype("<i2").tobytes())
    return out.getvalue()


def to_npy(values: Tensor, all_steps: bool = False) -> bytes:
    """Return a series `(steps, channels)` as .npy, float32. If it is too large, the last steps are left out.

    Args:
        values: The series.
        all_steps: Leave out the last channels instead.
    """
    limit = MAX_CONTENT_BYTES // 4
    steps, channels = values.shape
    kept = values[:, : max(1, limit // steps)] if all_steps else values[: max(1, limit // channels)]
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(kept.numpy(), np.float32), allow_pickle=False)
    return out.getvalue()


def to_text(text: str) -> bytes:
    """Return the start of a text as UTF-8."""
    return text[:MAX_CHARACTERS].encode("utf-8", "replace")


def to_json(row: Mapping[str, Any]) -> bytes:
    """Return a row as JSON. A number that is not finite is null, which stands for a missing value."""
    cells = {name: _json_value(value) for name, value in row.items()}
    return json.dumps(cells, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return shortest(value) if math.isfinite(value) else None
    return value[:MAX_CHARACTERS] if isinstance(value, str) else value


def shortest(value: float) -> float:
    """Return a number with the seven digits of a float32."""
    return float(f"{value:.7g}")
