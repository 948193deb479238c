"""Predict the class of each pixel of an image of any size from overlapping tiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def segment(image: Any, how: Any, predict: Callable[..., dict[str, Any]]) -> Any:
    """Return the class of each pixel `(height, width)`: the probabilities of overlapping tiles are averaged."""
    sizes, tile = image.shape[1:], (how["height"], how["width"])
    starts, ramps = [], []
    for size, length in zip(sizes, tile, strict=True):
        shared, last = int(how["overlap"] * length), max(size - length, 0)
        starts.append([*range(0, last, length - shared), last])
        edge = np.arange(1, length + 1, dtype=np.float32)
        ramps.append(np.minimum(np.minimum(edge, edge[::-1]), shared + 1) / (shared + 1))
    padding = [(0, max(length - size, 0)) for length, size in zip(tile, sizes, strict=True)]
    padded, weight = np.pad(image, [(0, 0), *padding]), np.outer(*ramps)
    total: Any = 0
    for top in starts[0]:
        for left in starts[1]:
            place = np.s_[:, top : top + tile[0], left : left + tile[1]]
            probability = predict(padded[place][None])["probability"][0]
            if isinstance(total, int):
                total = np.zeros((len(probability), *padded.shape[1:]), np.float32)
            total[place] += probability * weight
    return total.argmax(0)[: sizes[0], : sizes[1]].astype(np.uint8)  # argmax needs no division by the weights


def save_mask(path: str, mask: Any) -> str:
    """Write a mask beside its image, as a PNG whose gray values are the classes, and return its name."""
    name = Path(path).with_name(f"{Path(path).stem}_mask.png")
    Image.fromarray(mask).save(name)
    return str(name)
